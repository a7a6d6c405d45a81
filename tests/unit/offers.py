"""What a panel's "Save" buttons hand out, for tests."""

import base64
import re


def offered(panel):
    """The name and the bytes behind the link on show."""
    name, content = re.search(r'download="([^"]+)" href="[^"]+base64,([^"]+)"', panel.link).groups()
    return name, base64.b64decode(content)


def saved(panel, label):
    """Those of the link that the button makes."""
    panel.buttons[f"Save {label}"].click()
    assert panel.error == ""
    return offered(panel)
