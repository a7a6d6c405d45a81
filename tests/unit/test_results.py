"""The tables of results and of the leaderboard."""

import re

import pytest
from unit.test_claims import claim, record

from admm_lib import claims, records, results

ALL = claims.claims()
COMMITTED = [records.read(name) for name in records.headlines()]


class TestTables:
    def test_a_track_is_never_mixed_with_another(self):
        text = results.leaderboard([claim(), claim(track="free"), claim(track="")], [])
        assert [line for line in text.splitlines() if line.startswith("**")] == [
            f"**{results.TRACKS[track]}**" for track in ("from-lenet5", "free", "")
        ]
        with pytest.raises(ValueError, match="unknown track 'lenet5': there are from-lenet5"):
            results.leaderboard([claim(track="lenet5")], [])

    def test_the_results_have_a_table_per_track(self):
        tracks = {each["name"]: each["track"] for each in COMMITTED}
        assert {"from-lenet5", "from-lenet300"} <= set(tracks.values())
        for part in results.table().split("**")[1:]:
            rows = re.findall(r"^\| (\S+) ", part, re.MULTILINE)[1:]
            assert len({tracks[name] for name in rows}) <= 1

    def test_an_answered_claim(self):
        ours = [record("a", 6_046), record("b", 6_046, (99.0,))]
        text = results.leaderboard([claim(caveat="mind this")], ours)
        first, second = text.splitlines()[-2:]
        for part in (
            "LeNet-5 71.2x: pruning", "71.2x, 3 seeds (`a`)", "99.10 [98.85, 99.35]", "-0.10, around it",
            "dense 99.30, theirs not read; images as they are; mind this",
        ):  # fmt: skip
            assert part in first
        assert "71.2x, 1 seed (`b`) | 99.00 | -0.20, one seed says nothing" in second
        assert "pruning" not in second

    def test_an_unanswered_and_unverified_claim(self):
        text = results.leaderboard([claim(verified="no", caveat="odd")], [])
        assert "| Table 1 (reported, unverified) | planned |  |  | no record at this ratio yet; odd |" in text
        assert "| not read |  | Table 1 | not attempted |" in results.leaderboard([claim(counted="")], [])

    def test_of_runs_that_differ_the_largest_count_is_shown(self):
        mixed = record("mixed", 6_046)
        mixed["runs"][1]["nonzero_weights"] = 6_100
        for run in mixed["runs"]:
            run["file_bytes"] = 30_000
        cells = dict(zip(results.HEAD, results._row(mixed, []), strict=True))
        assert cells["weights / nonzero"] == "430,500 / 6,100 = 70.6x"
        assert cells["weights / nonzero"].endswith(f"{claims.measured(mixed, 'weights'):.1f}x")

    def test_the_setting_in_words(self):
        plain = record("a", 6_046)
        assert results.setting(plain) == "images as they are"
        plain["recipe"] |= {"distill": {}, "shift_pixels": 2, "steps": [{"by": "filter"}, {}]}
        assert results.setting(plain) == "2 px shifts, a teacher, 2 steps, filters first"
        plain["recipe"]["steps"] = [{}, {}, {}]
        assert results.setting(plain) == "2 px shifts, a teacher, 3 steps"

    def test_every_claim_has_a_row_and_every_row_all_cells(self):
        text = results.leaderboard(ALL, COMMITTED)
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert {line.count(" | ") for line in rows} == {len(results.HEAD_CLAIMS) - 1}
        assert sum(not line.startswith("|  |") for line in rows) == len(ALL) + text.count("**") // 2
        for name in re.findall(r"`(\S+)`", text):
            assert name in records.names()

    def test_every_name_in_the_figures_is_in_the_key_and_in_a_row(self):
        drawn = [each for each in ALL if each.drawn]
        lines = results.key(ALL).splitlines()[2:]
        assert len(lines) == len(set(lines))
        table = results.leaderboard(ALL, COMMITTED)
        for each in drawn:
            found = [line for line in lines if line.startswith(f"| {each.label} | ")]
            assert any(each.work in line for line in found)
            assert f"| {each.label} | {each.work} | {each.model} {each.ratio:g}x: " in table
        assert len({line.split(" | ")[0] for line in lines}) == len({each.label for each in drawn})
        names = {each.label.partition(" ’")[0] for each in drawn}
        assert claims.IN_FULL.keys() <= names
        assert "| DNS ’16 | Guo et al. 2016 (DNS), 1608.04493 | dynamic network surgery |" in lines
        silent = results.leaderboard([claim(ratio=None)], []).splitlines()[-1]
        assert silent.startswith("| not drawn | ")

    def test_the_readme_column_says_what_is_not_verified_or_has_no_error(self):
        assert results._claim(claim()) == "A: 99.2 at 71.2x"
        assert results._claim(claim(dense_error=0.7)) == "A: 99.2 (dense 99.3) at 71.2x"
        silent = claim(error=None, stated="no loss", verified="no")
        assert results._claim(silent) == "A: no loss at 71.2x, reported, unverified"
