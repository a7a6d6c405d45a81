"""What a page has of a panel: names for those who do not see it, keys, code to copy, text for no kernel."""

from typing import Any

from ipywidgets import Widget

# What ipywidgets leaves to the page. JupyterLab takes arrow keys for its own, from cell to cell, and letters
# for commands: a menu could not be moved by keyboard, and "b" in it would make a cell. What is pressed in a
# panel ends here, except shortcuts. And for those who do not see: the picture gets its sentence, sliders get
# their names and values, and the line under the picture is read out when it changes.
ON_THE_PAGE = """<style onload="
 const panel = this.closest('.jp-OutputArea-child') ?? document.createElement('div');
 panel.addEventListener('keydown', event => {
  if (!event.ctrlKey && !event.metaKey && !event.shiftKey) event.stopPropagation();
 });
 const describe = () => {
  panel.querySelectorAll('img').forEach(image => { image.alt = ALT; });
  panel.querySelector('.admm-line')?.setAttribute('role', 'status');
  panel.querySelectorAll('.widget-hslider').forEach(control => {
   const slider = control.querySelector('[role=slider]');
   slider?.setAttribute('aria-label', control.querySelector('.widget-label')?.textContent);
   slider?.setAttribute('aria-valuetext', control.querySelector('.widget-readout')?.textContent);
  });
 };
 describe();
 new MutationObserver(describe).observe(panel, {childList: true, subtree: true, characterData: true});
"></style>"""
# Inline, because a script inside an HTML widget is never run. Without the clipboard (a page that is
# not served securely) the code is still selected, one key away from being copied.
COPY = """<button class="jupyter-button" onclick="
 const code = this.nextElementSibling; getSelection().selectAllChildren(code);
 const done = () => {this.textContent = 'Copied'};
 if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, () => {});
 else if (document.execCommand('copy')) done();
">Copy to the clipboard</button>
<pre style="user-select:all;line-height:1.3;padding:6px;border:1px solid #ccc">"""


class Displayed:
    """Shown by its `widget` where a kernel runs, and by its `repr` where none does."""

    widget: Widget

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = self.widget._repr_mimebundle_(**kwargs)
        bundle["text/plain"] = repr(self)
        return bundle
