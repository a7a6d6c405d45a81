"""Published claims: the file, the rule that finds the records answering one, and the tables of both."""

import re
from collections import Counter

import pytest

from admm_lib import claims, records, results
from admm_lib.claims import Claim

ALL = claims.claims()
COMMITTED = [records.read(name) for name in records.headlines()]
# What is published on MNIST beyond the tables of the works themselves: arXiv number (or first word of
# the work), network, ratio, test error in percent. 5: LeNet-5, 300: LeNet-300-100.
RIVALS = """
1510.00149 5 12 0.74 | 1510.00149 5 39 0.74 | 1510.00149 300 12 1.58 | 1510.00149 300 40 1.58
1608.04493 5 108 0.91 | 1608.04493 300 56 1.99 | 1702.04008 5 200 0.97 | 1702.04008 5 162 0.97
1702.04008 300 64 1.94 | 1701.05369 5 280 0.75 | 1701.05369 300 68 1.92 | 1705.08665 5 108 1
1705.08665 5 361 1 | 1705.08665 5 156 1 | 1705.08665 5 419 1 | 1705.08665 5 771 1 | 1711.04686 5 382 1
1810.00440 5 555 0.69 | 1810.00440 5 1110 0.96 | 1810.00440 5 1500 0.98 | 1810.00440 5 1000 0.83
1906.06624 5 606 1 | 1906.06624 300 124 1.9 | 1910.05897 5 2120 - | 1812.11677 5 85 0.8
1810.07378 5 167 1 | 1810.07378 5 623 1 | 1810.07378 5 1910 - | 1903.09769 5 246 - | 1907.02124 5 348 -
1909.12778 5 300 0.94 | 1909.12778 5 300 - | Xiao 5 310 - | 1910.05897 5 2000 -
1909.12778 5 125 - | 1909.12778 300 60 - | 1705.07565 5 111 1.7
Yuan 5 17.69 0.85 | Yuan 5 37.06 - | Yuan 5 105.52 - | 1907.04840 5 250 1.403 | 1907.04840 5 200 1.144
1907.04840 5 111.1 0.894 | 1907.04840 5 100 0.83 | 1907.04840 5 50 0.76 | 1907.04840 5 20 0.69
1907.04840 300 100 2.36 | 1907.04840 300 66.67 2.053 | 1907.04840 300 55.56 1.984 | 1907.04840 300 50 1.99
1907.04840 300 22.73 1.552 | 1907.04840 300 20 1.53 | 1810.02340 5 100 1.1 | Carreira-Perpinan 5 100 1.1
Carreira-Perpinan 300 100 3.2 | 1804.03294 300 22.9 1.6 | Xiao 5 310 0.8 | 1905.08318 5 139 -
1804.03294 5 71.2 0.8 | 1812.11677 5 167 1 | 1812.11677 5 1910 1 | 1812.11677 5 623 1
1812.11677 5 24.1 1.9 | 1812.11677 5 45.7 1.3 | 1811.01907 5 1910 - | 1811.01907 5 623 - | 1811.01907 5 88 -
"""


def claim(ratio=71.2, counted="weights", error=0.8, **changes):
    start = {
        "work": "A", "arxiv": "", "year": 2018, "model": "LeNet-5", "dataset": "MNIST",
        "track": "from-lenet5", "method": "pruning", "counted": counted, "ratio": ratio, "bits": None,
        "nonzero_weights": None, "size": "", "test_error": error, "dense_error": None, "stated": "",
        "source": "Table 1", "verified": "yes", "caveat": "",
    }  # fmt: skip
    return Claim(**start | changes)


def record(name, nonzero, accuracies=(99.0, 99.1, 99.2), **changes):
    """A record of three runs; `file` has 64 bits per nonzero weight."""
    recipe = {"method": changes.pop("method", "admm"), "shift_pixels": 0, "dense": {"epochs": 1}}
    runs = [
        {"seed": 100 + i, "weights": 430_500, "nonzero_weights": nonzero, "test_accuracy": accuracy,
         "dense_test_accuracy": 99.3, "ladder_bits": {"values": 32 * nonzero, "file": 64 * nonzero}}
        for i, accuracy in enumerate(accuracies)
    ]  # fmt: skip
    start = {"name": name, "track": "from-lenet5", "dataset": "mnist", "recipe": recipe, "runs": runs}
    return start | changes


def names(found):
    return [each["name"] for each in found]


class TestFile:
    def test_every_row_is_whole(self):
        for each in ALL:
            assert each.work, each
            assert each.model, each
            assert each.method, each
            assert each.source, each
            status, why = each.unanswered
            assert status in claims.STATUS[1:], each
            assert why, each
            assert each.ratio or each.stated, each  # something is claimed
            assert each.track in results.TRACKS, each
            assert (each.dataset == "MNIST") == bool(each.track)
            assert (each.model == "LeNet-5") == (each.track == "from-lenet5")
            assert (each.test_error is None) or (each.track and 0 < each.test_error < 5), each
            assert (status == "not reproducible here") == (each.dataset == "ImageNet")
            assert each.track or each.dataset in claims.ELSEWHERE, each

    def test_no_claim_stands_twice(self):
        twice = [key for key, count in Counter(ALL).items() if count > 1]
        assert twice == []

    def test_every_published_mnist_number_is_there(self):
        found = {
            (key, each.model.split("-")[1], each.ratio, each.test_error)
            for each in ALL
            if each.track
            for key in (each.arxiv, each.work.split()[0])
        }
        for line in re.split(r"[|\n]", RIVALS.strip()):
            key, model, ratio, error = line.split()
            assert (key, model, float(ratio), None if error == "-" else float(error)) in found, line

    def test_every_work_is_there(self):
        assert claims.WORKS.keys() <= {each.arxiv for each in ALL}

    def test_of_rivals_only_the_two_networks_are_there(self):
        assert {each.model for each in ALL if each.arxiv not in claims.WORKS} == {"LeNet-5", "LeNet-300-100"}

    @pytest.mark.parametrize(
        ("arxiv", "claimed"),
        [
            ("1903.09769", "LeNet-5 246|AlexNet 36|AlexNet 61|ResNet-50 8|LeNet-5 -|VGG-16 -|ResNet -"),
            ("1907.02124", "LeNet-5 348|AlexNet 36|ResNet-50 8|unnamed networks -"),
        ],
    )
    def test_all_that_an_abstract_claims_is_there_and_verified(self, arxiv, claimed):
        read = [each for each in ALL if (each.arxiv, each.source) == (arxiv, "abstract")]
        found = {f"{each.model} {each.ratio or '-'}".removesuffix(".0") for each in read}
        assert found == set(claimed.split("|"))
        assert len(read) == len(found)
        assert not any(each.doubt for each in read)
        assert all(each.bits == 1 for each in read if each.ratio is None)  # "fully binarized"
        assert any("of the paper only the abstract was read" in each.caveat for each in read)

    def test_layers_sum_to_their_total_or_the_file_says_so(self):
        rows = claims.published("layers")
        tables = {(row["arxiv"], row["model"], row["method"]) for row in rows}
        said = 0
        for table in tables:
            *layers, total = (row for row in rows if (row["arxiv"], row["model"], row["method"]) == table)
            assert total["layer"] == "all"
            assert not any(layer["caveat"] for layer in layers)
            wrong = []
            for column in ("weights", "nonzero_weights"):
                if total[column]:
                    found = sum(int(layer[column]) for layer in layers)
                    assert int(total[column]) == pytest.approx(found, rel=0.006), table  # "61M" is rounded
                    if int(total[column]) != found:
                        wrong.append(f"{found:,} {column.replace('_', ' ')}")
            assert total["caveat"] == (f"its layers sum to {' and '.join(wrong)}" if wrong else ""), table
            said += len(wrong)
        assert said == 7

    def test_what_was_computed_says_so(self):
        for each in ALL:
            density = re.search(r"at density ([\d.]+)%", each.stated)
            if density:
                assert f"ratio computed from the density, 1 / {density[1]}%" in each.caveat
                assert each.ratio == pytest.approx(100 / float(density[1]), rel=5e-4)
            loss = re.search(r"loses ([\d.]+) points", each.stated)
            if loss and each.test_error is not None:
                assert "error computed from the dense" in each.caveat
                assert each.test_error == pytest.approx(each.dense_error + float(loss[1]))

    def test_a_file_is_called_whole_only_where_that_was_read(self):
        for each in ALL:
            assert not (each.counted and "whether the file is complete was not read" in each.caveat), each

    def test_of_one_work_all_that_was_read_alike_is_verified_alike(self):
        found = {(each.arxiv or each.work, each.source): set() for each in ALL}
        for each in ALL:
            found[each.arxiv or each.work, each.source].add(each.verified)
        assert {key: verified for key, verified in found.items() if len(verified) > 1} == {}

    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            ("weights,71.2", "weight,71.2", "line 2: counted must be one of weights, structured weights"),
            ("weights,71.2", "weights,71.2x", "line 2: could not convert"),
            (",yes,", ",maybe,", "line 2: verified must be one of yes"),
            ("work,arxiv", "works,arxiv", "line 2: 'work'"),
        ],
    )
    def test_a_wrong_cell_is_named(self, tmp_path, monkeypatch, before, after, message):
        text = (claims.PUBLISHED / "leaderboard.csv").read_text()
        (tmp_path / "leaderboard.csv").write_text(text.replace(before, after, 1))
        monkeypatch.setattr(claims, "PUBLISHED", tmp_path)
        with pytest.raises(ValueError, match=re.escape(message)):
            claims.claims()


class TestReading:
    @pytest.mark.parametrize(
        ("sources", "itself", "elsewhere"),
        [
            (["authors' PDF, Table 2", "authors' PDF, Tables 1 and 3"], "tables 1, 2 and 3", ""),
            (["authors' PDF, Table 12; bits: Table 3", "authors' PDF, text"], "tables 3 and 12", ""),
            (["copy of the paper, Section 4.2 and Table 5"], "table 5", ""),
            (["authors' PDF, Table 2; dense: 1810.07378, Table 5"], "table 2", "dense: 1810.07378, Table 5"),
            (["abstract", "from memory", "abstract"], "the abstract alone", "from memory"),
            (["a summary", "Table 1 of 1702.04008"], "no number", "a summary, Table 1 of 1702.04008"),
        ],
    )
    def test_what_was_read_of_a_work_and_where_else(self, sources, itself, elsewhere):
        assert claims.read_in([claim(source=source) for source in sources]) == (itself, elsewhere)

    def test_a_row_per_work(self):
        lines = results.reading(ALL).splitlines()
        assert len(lines) == 2 + len(claims.WORKS)
        for arxiv, line in zip(claims.WORKS, lines[2:], strict=True):
            own = [each for each in ALL if each.arxiv == arxiv]
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert cells[0] == f"{own[0].work}, {arxiv}"
            assert tuple(cells[1:3]) == claims.read_in(own)
            assert cells[3:] == [str(len(own)), str(sum(each.verified != "yes" for each in own))]


class TestRule:
    def test_the_nearest_at_or_above_the_claimed_ratio(self):
        ours = [record("low", 6_100), record("met", 6_046), record("far", 2_577)]
        assert names(claims.answers(claim(), ours)) == ["met"]
        assert names(claims.answers(claim(ratio=100), ours)) == ["far"]
        assert claims.answers(claim(ratio=200), ours) == []
        assert claims.answers(claim(ratio=None), ours) == []

    def test_a_ratio_that_is_met_exactly_is_met(self):
        exact = record("exact", 4_305)
        assert claims.measured(exact, "weights") == 100
        assert names(claims.answers(claim(ratio=100), [exact])) == ["exact"]
        assert claims.answers(claim(ratio=100.01), [exact]) == []
        assert claims.held_against(exact, [claim(ratio=100)]) == claim(ratio=100)

    def test_recipes_at_one_ratio_answer_together(self):
        ours = [record("shifted", 6_046), record("plain", 6_040), record("next", 5_900)]
        assert names(claims.answers(claim(), ours)) == ["shifted", "plain"]

    def test_the_worst_run_counts(self):
        mixed = record("mixed", 6_046)
        mixed["runs"][1]["nonzero_weights"] = 6_100
        assert claims.measured(mixed, "weights") == pytest.approx(430_500 / 6_100)
        assert claims.answers(claim(), [mixed]) == []

    def test_each_rung_by_itself(self):
        ours = [record("a", 4_305)]  # 100x in weights and values, 50x as a file
        assert claims.measured(ours[0], "values") == 100
        assert claims.measured(ours[0], "file") == 50
        assert claims.answers(claim(ratio=60, counted="values"), ours)
        assert not claims.answers(claim(ratio=60, counted="file"), ours)
        for counted in ("", claims.STRUCTURED):
            assert not claims.answers(claim(ratio=1, counted=counted), ours)

    @pytest.mark.parametrize("by", ["filter", "channel", "column", "kernel", "block", None])
    def test_whole_groups_answer_claims_of_them_and_of_weights(self, by):
        ours = record("a", 4_305)
        keep = {"fc1.weight": 3}
        last = {"keep": keep, "by": by} if by else {"keep": keep}
        ours["recipe"] |= {"steps": [{"keep": keep, "by": "filter"}, last]}
        found = names(claims.answers(claim(ratio=60, counted=claims.STRUCTURED), [ours]))
        assert found == (["a"] if by in ("filter", "channel", "column") else [])
        assert names(claims.answers(claim(ratio=60), [ours])) == ["a"]
        assert not claims.answers(claim(ratio=101, counted=claims.STRUCTURED), [ours])
        few = {"sets": {"fc1.weight": {"set": "ternary"}}}  # whose zeros are no groups
        for steps in ([{"keep": keep, "by": "filter"}, few], [{"keep": keep, "by": "filter"} | few]):
            ours["recipe"]["steps"] = steps
            assert claims.measured(ours, claims.STRUCTURED) is None

    def test_bits_alone_are_answered_by_values_of_no_more(self):
        binary = record("binary", 430_500)
        ternary = record("ternary", 215_250)  # a bit for each sign, and nearly one to say where
        for each, values, positions in ((binary, 430_000, 430_000), (ternary, 215_250, 645_000)):
            for run in each["runs"]:
                run["ladder_bits"] |= {"values": values, "positions": positions}
        ours = [binary, ternary]
        alone = claim(None, "values", bits=1)
        assert alone.needed == 32
        assert names(claims.answers(alone, ours)) == ["binary"]
        assert names(claims.answers(claim(None, "values", bits=2), ours)) == ["ternary"]
        assert names(claims.answers(claim(32, "values"), ours)) == ["binary"]
        assert names(claims.answers(claim(40, "values"), ours)) == ["ternary"]
        assert claim(500, "values", bits=1).needed == 500
        assert claim(None, "weights", bits=1).needed is None
        assert claims.answers(claim(None, "weights", bits=1), ours) == []

    @pytest.mark.parametrize("changes", [{"track": "free"}, {"dataset": "digits"}, {"method": "magnitude"}])
    def test_other_tracks_data_and_methods_do_not_answer(self, changes):
        assert claims.answers(claim(), [record("a", 1_000, **changes)]) == []

    def test_status_comes_from_the_records_and_else_from_the_claim(self):
        assert claims.status(claim(), []) == "planned"
        assert claims.status(claim(), [record("a", 6_046)]) == "recorded"
        assert claims.status(claim(dataset="ImageNet", track=""), []) == "not reproducible here"
        assert claims.status(claim(dataset="CIFAR-10", track=""), []) == "not attempted"
        assert "JPEG" in claim(dataset="CIFAR-10", track="").unanswered[1]
        assert claims.status(claim(counted=""), []) == "not attempted"
        reasons = {claim(counted=each).unanswered[1] for each in (*claims.COUNTED, "")}
        assert len(reasons) == 4  # weights, whole groups, quantized values, not read
        assert claim(dataset=claims.NOT_READ, track="").unanswered[0] == "not attempted"
        assert "binary weights" in claim(counted="values", bits=1).unanswered[1]

    def test_a_record_is_held_against_the_largest_ratio_it_reaches(self):
        first, same, quoted = claim(100), claim(100, work="B"), claim(120, method="x, as quoted")
        among = [claim(50), first, same, quoted, claim(110, counted="values"), claim(110, track="free")]
        assert claims.held_against(record("a", 3_000), among) is first
        assert claims.held_against(record("a", 100_000), among) is None

    def test_a_network_that_is_quantized_alone_is_held_against_bits(self):
        ours = record("binary", 430_500)
        ours["recipe"]["sets"] = {"fc1.weight": {"set": "binary"}}
        for run in ours["runs"]:
            run["ladder_bits"] |= {"values": 430_500, "positions": 430_500}
        one = claim(None, "values", bits=1)
        among = [claim(1), claim(20, "values"), claim(None, "values", bits=2), one]
        assert claims.held_against(ours, among) is one
        assert claims.held_against(ours, among[:2]) is None
        assert results._claim(one) == "A: 99.2 at 1 bit"
        del ours["recipe"]["sets"]
        assert claims.held_against(ours, among) is among[0]

    def test_verdicts(self):
        ours = record("a", 6_046)  # 99.10 [98.85, 99.35]
        assert claims.verdict(claim(error=1.2), ours) == "above it"
        assert claims.verdict(claim(error=0.6), ours) == "below it"
        assert claims.verdict(claim(error=0.9), ours) == "around it"
        assert claims.verdict(claim(error=None), ours) == "no error to compare with"
        assert claims.verdict(claim(), record("b", 6_046, (99.0,))) == "one seed says nothing"

    def test_several_records_have_one_verdict_together(self):
        ours = [record("a", 6_046), record("b", 6_046, (99.3, 99.4, 99.5))]
        assert claims.joint_verdict(claim(error=1.2), ours) == "above it"
        assert claims.joint_verdict(claim(error=0.9), ours) == "mixed"
        assert claims.joint_verdict(claim(error=0.9), ours[:1]) == "around it"
        assert claims.joint_verdict(claim(error=0.01), ours) == "below it"
        assert claims.joint_verdict(claim(ratio=1_000), ours) is None
