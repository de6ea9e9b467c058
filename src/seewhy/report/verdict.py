"""The verdict: which explainers are ahead by the metrics that can be recommended, by how much, and how sure that is."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from seewhy.evaluation.manifest import Manifest
from seewhy.report.leaderboard import Advantage, Ranking
from seewhy.report.prose import and_list

RECOMMENDED = {
    "srg": "what stands for removed parts cancels, and an order by chance has 0",
    "pixel_flipping": "what stands for removed parts cancels, and an order by chance has 0",
    "scene_deletion": "the thing itself is taken out of the scene, and nothing has to stand for it",
    "average_gain": "a map that hides nothing has 0; average drop and average increase reward such a map",
    "relevance_mass": "a map that is the same everywhere has only the share of the image that the object covers",
    "relevance_rank": "an order by chance has only the share of the image that the object covers",
    "grid_pointing_game": "a map that is the same for every class has only the chance level",
    "class_masks": "a map that is the same for every class has 0",
}
"""Metrics that ask the network or the object, and by which a map that looks at nothing has a low figure; and why.

They are those of docs/explanation/metrics.md. A metric of complexity, of robustness or of randomization is not among them:
a map that looks at no network is perfect by some of these.
"""
VERDICT_FAMILIES = ("ordering", "masking", "localization", "specificity")
"""The families whose metrics say which explainer is better; of each, one metric is in the verdict."""


UNCOUNTED = "by one of these metrics it may be no better than any map that looks at no network"
"""Why an explainer is not counted, where by every metric of the verdict another one is better than one of these maps."""


class Finding(NamedTuple):
    """What one metric says of the explainers that look at the network.

    why         the metric is recommended; "" if it is not
    leader      the best of them
    level       those whose difference to it may be chance
    subject     the explainer of which the verdict speaks: one that is ahead by all metrics, or else the leader
    rival       the subject against the best of the others; None if there is none
    references  the subject against each map that looks at no network
    """

    ranking: Ranking
    why: str
    leader: str
    level: list[str]
    subject: str
    rival: Advantage | None
    references: list[Advantage]

    @property
    def name(self) -> str:
        return self.ranking.metric.name

    @property
    def group(self) -> list[str]:
        """The leader and those that may be as good."""
        return [self.leader, *self.level]

    @property
    def beaten(self) -> list[str]:
        """The reference maps than which the subject is better, and that is not chance."""
        return [c.second for c in self.references if c.sure and c.difference.value > 0]


class Verdict(NamedTuple):
    """What a run concludes, in words.

    findings    a metric of each family, the recommended one if there is one
    ahead       the explainers that are the best, or may be, by every finding
    conclusion  one sentence
    sure        how sure it is: "sure", "partly sure", "not sure" or "not known"
    reasons     why: one or two sentences
    advice      what would make it surer: sentences
    command     that measures the reference maps that are missing; "" where it is not known
    """

    findings: list[Finding]
    ahead: list[str]
    conclusion: str
    sure: str
    reasons: list[str]
    advice: list[str]
    command: str


def recommended(ranking: Ranking) -> str:
    """Why the metric of a ranking can be recommended; "" if it is not, or if its options make another metric of it."""
    about = ranking.metric.about
    other_mask = about.options.get("use", "map") != "map"  # of the study of Opti-CAM whose mask is not the map
    return RECOMMENDED.get(about.metric, "") if ranking.metric.has_ranks and not other_mask else ""


def recommended_first(rankings: Sequence[Ranking]) -> list[Ranking]:
    """The rankings, those of recommended metrics first, in the order of ``RECOMMENDED``."""
    places = {name: place for place, name in enumerate(RECOMMENDED)}
    return sorted(rankings, key=lambda r: places[r.metric.about.metric] if recommended(r) else len(places))


def verdict(rankings: Sequence[Ranking], manifest: Manifest, references: Sequence[str]) -> Verdict:
    """The verdict of a run.

    Args:
        rankings: by all its metrics.
        manifest: of the run.
        references: the explainers that look at no network.
    """
    ordered = recommended_first(rankings)
    chosen = {family: _first(ordered, family) for family in VERDICT_FAMILIES}
    known = [ranking for ranking in chosen.values() if ranking is not None]
    asked = [ranking for ranking in known if recommended(ranking)] or known
    looking = [name for name in manifest.explainers if name not in references]
    counted = [name for name in looking if all(_beats(r, name, references) for r in asked)] or looking
    groups = {r.metric.name: group for r in asked if (group := _group(r, counted))}
    shared = [name for name in next(iter(groups.values()), []) if all(name in group for group in groups.values())]
    ahead = sorted(shared, key=lambda name: -sum(group[0] == name for group in groups.values()))
    findings = [_finding(r, groups[r.metric.name], ahead, counted, references) for r in asked if r.metric.name in groups]
    methods = {about.method for about in manifest.explainers.values()}
    missing = [name for name in ("random", "center") if name not in methods]
    sure, reasons = _sureness(findings, counted, ahead)
    if uncounted := [name for name in looking if name not in counted]:
        reasons.append(f"Not counted, because {UNCOUNTED}: {and_list(uncounted)}.")
    return Verdict(
        findings=findings,
        ahead=ahead,
        conclusion=_conclusion(findings, counted, ahead, references, len(looking)),
        sure=sure,
        reasons=reasons,
        advice=_advice(findings, looking, missing),
        command=_command(manifest, missing),
    )


def _first(rankings: Sequence[Ranking], family: str) -> Ranking | None:
    return next((r for r in rankings if r.metric.family == family and r.metric.has_ranks), None)


def _beats(ranking: Ranking, name: str, references: Sequence[str]) -> bool:
    """Whether an explainer is better than one of the maps that look at no network, if there are any."""
    measured = [other for other in references if other in ranking.entries]
    return name in ranking.entries and (not measured or any(ranking.beats(name, other) for other in measured))


def _best_first(ranking: Ranking, names: Sequence[str]) -> list[str]:
    """Those of the explainers that have a figure; those with too few rows to be compared come last."""
    compared = ranking.metric.compared
    return sorted((n for n in ranking.order if n in names), key=lambda name: name not in compared)


def _group(ranking: Ranking, counted: Sequence[str]) -> list[str]:
    """The best of the explainers, and those whose difference to it may be chance."""
    names = _best_first(ranking, counted)
    contrasts = [(name, ranking.contrast(names[0], name)) for name in names[1:]]
    return [*names[:1], *(name for name, found in contrasts if found is None or not found.sure)]


def _finding(
    ranking: Ranking, group: list[str], ahead: list[str], counted: Sequence[str], references: Sequence[str]
) -> Finding:
    subject = (ahead or group)[0]
    rival = next((name for name in _best_first(ranking, counted) if name != subject), None)
    return Finding(
        ranking=ranking,
        why=recommended(ranking),
        leader=group[0],
        level=group[1:],
        subject=subject,
        rival=None if rival is None else ranking.contrast(subject, rival),
        references=[c for n in references if n in ranking.entries and (c := ranking.contrast(subject, n)) is not None],
    )


# -- the words ----------------------------------------------------------------------------------------------------------


def _conclusion(
    findings: Sequence[Finding], looking: list[str], ahead: list[str], references: Sequence[str], asked: int
) -> str:
    if not looking:
        were = "was" if len(references) == 1 else "were"
        return f"Only {and_list(references)} {were} measured, which look at no network: nothing can be concluded."
    if not findings:
        return "No metric of this run says which explainer is better: nothing can be concluded."
    by, k = _by(findings), len(looking)
    if k == 1 < asked:
        return f"Of {asked} explainers, {looking[0]} alone is better than a map that looks at no network {by}."
    if k == 1:
        return f"{looking[0]} is the only explainer of this run, so that it is not compared with another."
    if not ahead:
        leads = {leader: [f.name for f in findings if f.leader == leader] for leader in (f.leader for f in findings)}
        said = and_list([f"{leader} is ahead by {and_list(names)}" for leader, names in leads.items()])
        return f"No explainer is ahead by all metrics: {said}."
    if len(ahead) == k:
        return f"{and_list(ahead) if k <= 3 else f'The {k} explainers'} cannot be told apart {by}."
    if len(ahead) == 1 and all(f.group == ahead for f in findings):
        return f"{ahead[0]} is the best of {k} explainers {by}."
    if many(ahead, k):
        return f"{len(ahead)} of {k} explainers may be the best: {by} none of them is told from the best."
    be, each = ("is", "it") if len(ahead) == 1 else ("are", "each")
    return f"Of {k} explainers, {and_list(ahead)} {be} ahead: {by} {each} is the best, or may be as good as the best."


def many(ahead: list[str], k: int) -> bool:
    """Whether so many of k explainers may be the best that to name them says little."""
    return len(ahead) > max(3, k / 2)


def _by(findings: Sequence[Finding]) -> str:
    """By these metrics, in words."""
    names, k = and_list([f.name for f in findings]), len(findings)
    if not findings[0].why:
        return f"by {names}"
    return (
        f"by the recommended metric {names}"
        if k == 1
        else f"by {'both' if k == 2 else f'all {k}'} recommended metrics ({names})"
    )


def _sureness(findings: Sequence[Finding], looking: list[str], ahead: list[str]) -> tuple[str, list[str]]:
    """How sure the conclusion is, in one or two words, and why, in one or two sentences."""
    if not findings:
        return "not known", []
    if not any(f.references for f in findings):
        return "not known", ["No map that looks at no network was measured: these maps may be no better than one."]
    who = findings[0].subject if len({f.subject for f in findings}) == 1 else "the leader"
    by = f"By {'each of these metrics' if len(findings) > 1 else findings[0].name}"
    doubts = {f.name: left for f in findings if (left := [c.second for c in f.references if c.second not in f.beaten])}
    every = list(dict.fromkeys(c.second for f in findings for c in f.references))
    if not any(f.beaten for f in findings):
        return "not sure", [f"{by}, {who} may be no better than {_blind(every)}. Do not believe a map of this run yet."]
    if doubts:
        alike = {tuple(left): [name for name in doubts if doubts[name] == left] for left in doubts.values()}
        said = and_list(
            [f"by {and_list(names)}, {who} may be no better than {_blind(list(left))}" for left, names in alike.items()]
        )
        return "partly sure", [f"{said[0].upper()}{said[1:]}.", *_lead(findings, looking, ahead)]
    said = f"{by}, {who} is better than {_blind(every)}, and that is not chance."
    vague = len(looking) > 1 and (len(ahead) in (0, len(looking)) or many(ahead, len(looking)))
    return "partly sure" if vague else "sure", [said, *_lead(findings, looking, ahead)]


def _blind(references: list[str]) -> str:
    """Reference maps, and what they are."""
    return f"{and_list(references)}, {'a map that looks' if len(references) == 1 else 'maps that look'} at no network"


def _lead(findings: Sequence[Finding], looking: list[str], ahead: list[str]) -> list[str]:
    """How sure the lead over the other explainers is."""
    if len(looking) < 2 or not ahead:
        return []
    if len(ahead) > 1:
        return [f"Which of these {len(ahead)} is the best may be chance."]
    near = [f.name for f in findings if f.group != ahead]
    if not near:
        return ["Its lead over the next explainer is not chance either."]
    return [f"By {and_list(near)}, its difference to the next explainer may be chance."]


def _advice(findings: Sequence[Finding], looking: list[str], missing: list[str]) -> list[str]:
    """What would make the verdict surer."""
    said = []
    if findings and missing:
        options = " ".join(f"--explainer {name}" for name in missing)
        said.append(f"Add {options} to the command of this run: what is there is not measured again.")
    if looking and (not findings or not findings[0].why):
        said.append("No recommended metric was measured: add --metric srg --metric average_gain to the command of this run.")
    few = [f.ranking.wanted for f in findings if f.ranking.wanted]
    if few:
        n = min(f.ranking.shared for f in findings if f.ranking.wanted)
        few_are = f"{n} {'image is' if n == 1 else 'images are'} too few"
        said.append(f"{few_are} to tell so many explainers apart, however they differ: take at least {max(few)}.")
    return said


def _command(manifest: Manifest, missing: list[str]) -> str:
    """The command that measures the missing explainers into the same run; "" where it is not known."""
    given = manifest.details.get("command")
    if (
        not missing
        or not isinstance(given, list)
        or "--out" not in given
        or not all(isinstance(word, str) for word in given)
    ):
        return ""
    return shlex.join(["seewhy", *map(str, given), *(word for name in missing for word in ("--explainer", name))])
