"""Writing one dialogue after the other from the frames."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from train.remembering.frames import Data, Group, Kind, split_lists


@dataclass
class Fact:
    """A fact of one dialogue: its kind, the values that fill its frames, the group that is asked for."""

    kind: Kind
    values: dict[str, str]
    group: Group


Turn = dict[str, str]
Fits = Callable[[str], bool]
POLITE = re.compile("です|ます|まし|ません|でしょう|ください|申し|いただ|お願い")
OPENING = re.compile("はじめまして|こん(にち|ばん)は|やっほー|どうも|よろしく|とりあえず|ねえ|^あの、")
YES_OR_NO = re.compile("覚え|おぼえ|わか|言え|いえる|忘れ|わすれ|ください|お願い|もらえ|言ってみて")
KEPT = re.compile("覚え|おぼえ|忘れ|わすれ")
EARLIER = re.compile(
    "さっき|先ほど|前に|もう一|だっけ|だった|でした|言(った|いま)|[覚ぼ]え|忘れ|わすれ|ところで"
)
POINTS_BACK = re.compile("さっき|先ほど|前に|もう一|ちゃんと")
LATER_ONLY = re.compile("さっき|変わ|やめる|やっぱり")
LONG_AGO = re.compile("でした|うかが|おっしゃって|教えて|覚えて")
HONORIFICS = ("さん", "ちゃん", "くん")
WAYS = {"one": 43, "many": 19, "fix": 10, "quick": 4, "untold": 14, "later": 2, "use": 6}


def honoured(name: str) -> str:
    """Return the name with さん unless it carries an honorific."""
    return name if name.endswith(HONORIFICS) else name + "さん"


class Writer:
    """Write one dialogue after another, always reaching for the frames and values used least."""

    def __init__(self, data: Data, seed: int) -> None:
        """Keep the data and start the random numbers."""
        self.data = data
        self.lists = split_lists(data["lists"])
        self.rng = random.Random(seed)
        self.used: Counter[str] = Counter()
        self.turns: list[Turn] = []
        self.words: dict[str, str] = {}
        self.polite = False

    def choose(self, options: Sequence[str], *conditions: Fits) -> str:
        """Return one of the least used options that meet the conditions (the last ones give way first)."""
        for kept in range(len(conditions), -1, -1):
            fitting = [o for o in options if all(fits(o) for fits in conditions[:kept])]
            if fitting:
                least = min(self.used[o] for o in fitting)
                chosen = self.rng.choice([o for o in fitting if self.used[o] <= least])
                self.used[chosen] += 1
                return chosen
        raise ValueError("nothing to choose from")

    def in_register(self, frame: str) -> bool:
        """Say whether a frame of the user's is in the register of this dialogue."""
        return bool(POLITE.search(frame)) == self.polite

    def fact(self, taken: Sequence[Fact], fits: Callable[[Kind], bool] = lambda _: True) -> Fact:
        """Return a new fact of a kind that goes with those taken."""
        sets = {fact.kind["set"] for fact in taken}
        kinds = [k for k in self.data["kinds"].values() if k["set"] not in sets and fits(k)]
        kind = self.rng.choices(kinds, [k["weight"] for k in kinds])[0]
        known = {value for fact in taken for value in fact.values.values()}
        return Fact(kind, self.fill_slots(kind, known), self.rng.choice(kind["asks"]))

    def fill_slots(self, kind: Kind, known: set[str]) -> dict[str, str]:
        """Return fresh values for the slots of a kind."""
        values: dict[str, str] = {}
        for slot, names in kind["slots"].items():
            options = [value for name in names.split() for value in self.lists[name]]
            values[slot] = self.choose(options, lambda value: value not in known)
            values[slot + "s"] = honoured(values[slot])
        return values

    def start(self, facts: Sequence[Fact]) -> None:
        """Begin an empty dialogue in one register, with a word for "I" that suits the name told."""
        self.turns = []
        self.polite = self.rng.random() < 0.5
        names = {v for f in facts if f.kind["set"] == "name" for v in f.values.values()}
        pairs = [("私", "わたし"), ("わたし", "わたし")]
        if not names & {*self.lists["girls"], *self.lists["nick"]}:
            pairs += [("ぼく", "ぼく")] if self.polite else [("ぼく", "ぼく"), ("俺", "おれ")]
        me, kana = self.rng.choice(pairs)
        self.words = {"me": me, "k": kana}

    def say(self, user: str, assistant: str) -> None:
        """Add one exchange."""
        self.turns += [{"role": "user", "text": user}, {"role": "assistant", "text": assistant}]

    def fill(self, frame: str, fact: Fact, **more: str) -> str:
        """Fill a frame with the values of a fact."""
        return frame.format(**{**self.words, **fact.values, **more})

    def telling(self, fact: Fact, *, opens: bool, linked: bool = True) -> str:
        """Return what the user says to tell a fact."""
        frame = self.choose(fact.kind["tell"], lambda f: opens or not OPENING.search(f), self.in_register)
        link = "" if opens or not linked else self.choose(self.data["link"])
        return link + self.fill(frame, fact)

    def tell(self, fact: Fact, *, linked: bool = True) -> None:
        """Let the user tell a fact and the assistant take it up."""
        opens = not self.turns
        user = self.telling(fact, opens=opens, linked=linked)
        ack = self.choose(fact.kind["ack"], lambda f: opens or not OPENING.search(f))
        self.say(user, self.fill(ack, fact))

    def tell_together(self, facts: Sequence[Fact]) -> None:
        """Let the user tell several facts at once."""
        told = [self.telling(fact, opens=place == 0) for place, fact in enumerate(facts)]
        ack = self.choose(self.data["many_ack"])
        self.say("。".join(told), ack.format(c=self.clauses(facts)))

    def clauses(self, facts: Sequence[Fact], *, asked: bool = False) -> str:
        """Return all facts in one breath, whole or only the parts asked for."""
        groups = [fact.group if asked else fact.kind["asks"][-1] for fact in facts]
        return "、".join(self.fill(group["clause"], fact) for group, fact in zip(groups, facts, strict=True))

    def label(self, fact: Fact) -> str:
        """Return what the user calls the thing asked for."""
        return self.fill(fact.group["label"], fact)

    def asking(self, fact: Fact) -> str:
        """Return the user's question for a fact."""
        general = self.rng.random() < 0.12
        said = {turn["text"] for turn in self.turns}
        frames = self.data["ask"] if general else fact.group["ask"]
        new = [f for f in frames if self.fill(f, fact, label=self.label(fact)) not in said]
        frame = self.choose(new, self.in_register)
        return self.fill(frame, fact, label=self.label(fact))

    def giving(self, fact: Fact, question: str, *conditions: Fits) -> str:
        """Return the reply that gives the fact back; はい only where the question allows it."""
        frames = fact.group["reply"] + self.data["reply"]
        frame = self.choose(frames, lambda f: yes_fits(f, question), *conditions)
        return self.fill(frame, fact, r=self.fill(fact.group["said"], fact))

    def ask(self, fact: Fact) -> None:
        """Let the user ask for a fact and the assistant give it back."""
        question = self.asking(fact)
        self.say(question, self.giving(fact, question))

    def ask_together(self, facts: Sequence[Fact]) -> None:
        """Let the user ask for several facts at once."""
        both = len(facts) == 2 and self.rng.random() < 0.6
        if both:
            frame = self.choose(self.data["both_ask"], self.in_register)
            labels = [self.label(fact) for fact in facts]
            question = frame.format(l1=labels[0], l2=labels[1], **self.words)
        else:
            question = self.choose(self.data["all_ask"], self.in_register).format(**self.words)
        reply = self.choose(self.data["many_reply"], lambda f: yes_fits(f, question))
        self.say(question, reply.format(c=self.clauses(facts, asked=both)))

    def pair(self, pairs: Sequence[Sequence[str]], fact: Fact | None = None) -> None:
        """Add a ready exchange that has not been in this dialogue."""
        said = {turn["text"] for turn in self.turns}
        replies = dict(cast(Sequence[tuple[str, str]], pairs))
        user = self.choose(list(replies), lambda text: text not in said, self.in_register)
        values = {**self.words, **(fact.values if fact else {})}
        self.say(user.format(**values), replies[user].format(**values))

    def talk_between(self, none: float, one: float) -> None:
        """Add no, one or two exchanges of small talk."""
        chance = self.rng.random()
        for _ in range(0 if chance < none else 1 if chance < one else 2):
            self.pair(self.data["between"])

    def one(self) -> None:
        """Tell one fact, talk, ask for it."""
        fact = self.fact([])
        self.start([fact])
        self.tell(fact)
        self.talk_between(0.8, 0.95)
        self.ask(fact)

    def many(self) -> None:
        """Tell two or three facts, ask for one or for all of them."""
        facts: list[Fact] = []
        for _ in range(2 if self.rng.random() < 0.75 else 3):
            facts.append(self.fact(facts))
        self.start(facts)
        if self.rng.random() < 0.85:
            facts.sort(key=lambda fact: fact.kind["set"] != "name")
            self.tell_together(facts)
        else:
            for fact in facts:
                self.tell(fact)
        self.talk_between(0.85, 0.97)
        if self.rng.random() < 0.6:
            self.ask(self.rng.choice(facts))
        else:
            self.ask_together(facts)

    def fix(self) -> None:
        """Tell a fact, correct it, ask for it."""
        fact = self.fact([], lambda kind: kind.get("fix") != [])
        fact.group = fact.kind["asks"][0]
        new = Fact(fact.kind, {**fact.values, **self.another(fact)}, fact.group)
        self.start([fact, new])
        self.correct(fact, new)
        self.talk_between(0.85, 1.0)
        self.ask(new)

    def another(self, fact: Fact) -> dict[str, str]:
        """Return another value from the same list."""
        value = fact.values["x"]
        source = next(name for name in fact.kind["slots"]["x"].split() if value in self.lists[name])
        other = self.choose([o for o in self.lists[source] if o != value])
        return {"x": other, "xs": honoured(other)}

    def correct(self, old: Fact, new: Fact) -> None:
        """Let the user tell a fact and take it back, at once or in the next turn."""
        said, was = self.fill(new.group["said"], new), self.fill(old.group["said"], old)
        at_once = self.rng.random() < 0.4
        told = self.telling(old, opens=True) + "。" if at_once else ""
        if not at_once:
            self.tell(old)
        frames = new.kind.get("fix", self.data["fix"])
        frame = self.choose(frames, lambda f: not (at_once and LATER_ONLY.search(f)), self.in_register)
        fixed = self.fill(frame, new, old=old.values["x"], label=self.label(new))
        self.say(told + fixed, self.choose(self.data["fixack"]).format(r=said, ro=was))

    def quick(self) -> None:
        """Tell a fact, or two, and ask for one within the same turn."""
        facts = [self.fact([])]
        if self.rng.random() < 0.3:
            facts.append(self.fact(facts))
        self.start(facts)
        told = [self.telling(fact, opens=place == 0) for place, fact in enumerate(facts)]
        fact = self.rng.choice(facts)
        frames = [f for f in fact.group["ask"] if not EARLIER.search(f)]
        question = self.fill(self.choose(frames, self.in_register), fact)
        joint = self.rng.choice(["では、", "じゃあ、", ""])
        reply = self.giving(fact, question, lambda f: not LONG_AGO.search(f))
        self.say("。".join([*told, joint + question]), reply)

    def missing(self, fact: Fact) -> str:
        """Return a question for a fact that was not told."""
        frames = [f for f in fact.group["ask"] if not POINTS_BACK.search(f) and not needs_value(f)]
        return self.fill(self.choose(frames, self.in_register), fact)

    def untold(self) -> None:
        """Ask for a fact that was not told, after nothing or after another fact."""
        told = [self.fact([])] if self.rng.random() < 0.36 else []
        asked = self.fact(told, askable)
        asked.group = asked.kind["asks"][0]
        self.start(told)
        for fact in told:
            self.tell(fact)
        self.say(self.missing(asked), self.not_told(asked, told))

    def not_told(self, asked: Fact, told: Sequence[Fact]) -> str:
        """Return the reply that says what has not been told."""
        if told and self.rng.random() < 0.4:
            known = self.fill(told[0].kind["asks"][-1]["polite"], told[0])
            return self.choose(self.data["untold_but"]).format(l=asked.group["polite"], t=known)
        return self.choose(self.data["untold"]).format(l=asked.group["polite"])

    def later(self) -> None:
        """Ask for a fact too early, tell it, ask again."""
        fact = self.fact([], askable)
        fact.group = fact.kind["asks"][0]
        self.start([fact])
        self.say(self.missing(fact), self.not_told(fact, []))
        self.tell(fact, linked=False)
        self.ask(fact)

    def use(self) -> None:
        """Tell a fact that a later reply uses in a new sentence."""
        fact = self.fact([], lambda kind: "use" in kind)
        self.start([fact])
        self.tell(fact)
        self.pair(fact.kind.get("use", []), fact)

    def dialogue(self) -> list[Turn]:
        """Write one dialogue in one of the ways, now and then with thanks at its end."""
        way = self.rng.choices(list(WAYS), list(WAYS.values()))[0]
        cast(Callable[[], None], getattr(self, way))()
        if way in {"one", "many", "fix"} and self.rng.random() < 0.05:
            self.pair(self.data["closing"])
        return self.turns


def yes_fits(frame: str, question: str) -> bool:
    """Say whether a reply that begins with はい, or says that it remembers, suits the question."""
    if "覚えています" in frame:
        return bool(KEPT.search(question))
    return not frame.startswith("はい") or bool(YES_OR_NO.search(question))


def needs_value(frame: str) -> bool:
    """Say whether a frame cannot be used before the fact is told."""
    return bool(re.search(r"\{(x|xs|a|g|p)\}", frame))


def askable(kind: Kind) -> bool:
    """Say whether a kind can be asked for before it is told."""
    return not needs_value(kind["asks"][0]["label"])
