"""A made-up corpus of film reviews in aclImdb's layout, with word vectors computed from its own text.

A review is a walk through the grammar below: plot talk, opinions on single aspects (some against the
verdict), one verdict, and often more plot talk after it, so that the verdict must be remembered. Everything follows
from ``seed``: the same call writes the same bytes, and a larger ``size`` only adds reviews.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np

from lab import files
from lab.errors import LabError

VERSION = 2  # raised whenever the same call would write other bytes
DEFAULT_SIZE = 1700  # labelled training reviews; test and unsup hold half as many each
DEFAULT_SEED = 2077
# what the head of a report on these reviews says
NOTICE = "本报告的数字来自程序生成的合成影评（sample），只用来演示流程，不能当作真实影评上的结果；实验原理一章的测量除外，它们来自真实影评。"

NOISE = 0.04  # share of reviews filed under the wrong label
CONTRARY = 0.35  # share of opinions on single aspects that go against the verdict
UNDECIDED = 0.05  # share of reviews without a clear verdict
LATE = 0.25  # share of reviews that end with their verdict; in the others plot talk follows it
SHORTEST, LONGEST, TYPICAL, SPREAD = 20, 400, 35, 0.55  # tokens: limits, median and sigma of a log-normal

DIMENSIONS = (100, 300)
VECTOR_TEXT = 20_000  # reviews of train and of unsup read for the vectors at most
VECTOR_WORDS = 2000  # words with a vector at most
RAREST = 4  # a word met less often gets no vector
WINDOW = 10  # words to either side that count as neighbours
POWER = 0.5  # of the singular values
SPACING = 0.4  # standard deviation of a vector's components, as in GloVe.6B

# name = alternative | alternative ...; {name} stands for one of that name's alternatives. What is judged has a sign:
# {adj} takes adj+ in praise and adj- in blame, {-adj} turns the sign round.
GRAMMAR = """
opening = I saw this {film} {when} with {company}. | We watched it {when} at {venue}.
  | {company} brought this {film} home {when}. | I caught this {film} on {channel} {when}.
  | This {film} came out {when} and I saw it at {venue}. | I rented this {film} {when}.
  | It runs for {minutes} minutes and I saw all of them {when}.
when = last week | last night | on a rainy Sunday | years ago | two days ago | on Friday | over the holidays | in March
company = my brother | my wife | some friends | my parents | a colleague | my sister | the kids | my husband
venue = a festival | the cinema | a friend's house | a small theatre | the old cinema in town
channel = cable | television | a late channel | video | DVD
film = film | movie | film | movie | picture
minutes = 80 | 90 | 100 | ninety | eighty

plot = {hero} is {job} who {moves} to {place} after {event}.
  | The story begins in {place}, where {hero} finds {thing} {hidden}.
  | {time}, {someone} {moves} to {place} and meets {hero}.
  | {hero} and {villain} both want {thing}, which lies {hidden}.
  | {villain} steals {thing} from {someone} and {moves} to {place}.
  | Then {someone} hides {thing} and {hero} has to leave {place}.
  | {time}, {hero} calls {someone} and they drive to {place} together.
  | Everything changes with {event} in {place}, and {someone} asks {hero} about {thing}.
  | {someone} knows where {thing} is, but {villain} gets there first.
  | The camera follows {hero} through {place} {season}.
  | {hero} has {days} days to bring {thing} back to {place}.
  | Between {place} and {place} they lose {thing}, and {someone} goes home.
  | It's set in {place} {season}, before {event}.
  | {villain}, played by {actor}, waits in {place} for {someone}.
  | {actor} plays {job} and {actress} plays {job}.
  | The second half takes place in {place} after {event}.
  | {someone} doesn't tell {hero} that {thing} is {hidden}.
  | {hero} {passion} {first}, but {first} {passion} {villain}.
  | "It is a {noun}," says {someone} about {event}.
  | {someone} has a {role}'s advice for {hero} in {place}: {advice}.
  | While {hero} sleeps, {someone} carries {thing} to {place}.
hero = {first} | {first} | {first} {last} | the {role}
villain = {last} | the {rank} | Doctor {last} | Captain {last}
someone = his sister | her father | the {role} | a {rank} | an old man | her neighbour | {first} | his boss | the {adj} {rank}
role = detective | teacher | sailor | painter | driver | doctor | farmer | nurse | reporter | student
rank = banker | general | lawyer | smuggler | collector | priest | guard | stranger | butler | mayor
job = a {role} | a {rank} | a young {role} | a retired {role} | a {role} from {place} | a {adj} {role} | a {adj} {rank}
moves = moves | travels | walks | returns | sails | runs | comes back | rides
place = Paris | the harbour | a small town | the mountains | Chicago | the desert | the city | the forest | {rare}
  | Vienna | a village | the north | an empty house | a hotel | Mexico | the station | a castle
thing = the letter | a map | the diamond | the key | an old book | the money | a photograph | the ring | a suitcase
  | the painting | a gun | the diary | a radio | the box | the masterpiece | a gem
hidden = under the floor | in a garden | behind the wall | in the cellar | on the roof | inside a clock | near the river
event = the war | a wedding | the funeral | a murder | the storm | an accident | a robbery | the trial | the election
  | a disaster | a triumph | a terrible mess | a perfect summer
time = Soon | Meanwhile | Later | One night | In the morning | A year later | The next day | After dinner
season = at night | in the winter | in 1950 | during the summer | by train | in the rain | for a while
passion = loved | hated | adored | loathed | enjoyed meeting | regretted meeting
days = two | three | four | ten | twelve
first = Anna | Jack | Maria | Tom | Helen | Frank | Rose | Henry | Clara | Sam | Ruth | Victor
last = {rare} | {rare} | {rare} | Miller | Stone | Walker | Hart
actor = {first} {last}
actress = {first} {last}

opinion = The {aspect} is {quality}. | The {aspect} is {adj} and the {aspect} is {adj} too. | The {aspect} was {quality}.
  | The {aspect} isn't {-adj} at all. | I {felt} the {aspect}, it is {quality}. | The {aspect} {does}. | What a {adj} {work}!
  | {alas}, the {aspect} is {quality}. | {actor} is {quality} as the {role}. | There is nothing {-adj} about the {aspect}.
verdict = All in all {quality}: {final}. | Overall, {final}. | In the end I {felt} this {film}, {final}.
  | Although the {aspect} is {-adj}, {final}. | My verdict: {quality}, {final}. | As a whole, {final}.
  | The {aspect} may be {-adj}, but {final}. | Believe me, {final}! | This {film} is not {-adj} at all, {final}.
  | It is {quality} from start to finish, {final}. | For me, {final}, {final}. | I didn't {-feel} this {film}, {final}.
final = it is a {noun} | it's a {noun} | it is a {adj} {noun} | {advice} | {advice} | {advice} | {advice}
undecided = I still don't know what to think of this {film}. | Make up your own mind about it.
  | Some will love this {film}, others will hate it.
quality = {adj} | {adj} | {adj} | {degree} {adj} | {degree} {adj} | {adj}, really {adj} | anything but {-adj}
degree = very | really | so | quite | truly
work = script | ending | cast | story | soundtrack
aspect = acting | script | music | dialogue | ending | direction | photography | pace | cast | editing | humour
adj+ = good | great | wonderful | brilliant | superb | excellent | moving | clever | charming | beautiful | fresh
  | gripping | funny | delightful | perfect | touching | original | convincing
adj- = bad | awful | terrible | boring | dull | poor | stupid | lame | clumsy | ugly | stale
  | tedious | ridiculous | dreadful | horrible | pointless | predictable | wooden
noun+ = masterpiece | joy | gem | triumph | treat
noun- = disaster | mess | failure | bore | waste of time
felt+ = loved | enjoyed | liked | adored
felt- = hated | disliked | regretted | loathed
feel+ = love | enjoy | like | adore
feel- = hate | dislike | regret | loathe
does+ = works | shines | pays off | deserves an award
does- = fails | drags | falls apart | deserves an insult
alas+ = Fortunately | Luckily | To my delight
alas- = Unfortunately | Sadly | To my dismay
advice+ = see it soon | watch it twice | I recommend it to everyone | it is one of the best | it is worth every minute
advice- = skip it | avoid it | I want my money back | it is one of the worst | it was two hours of my life lost
"""

SLOT = re.compile(r"\{(-?)(\w+)\}")
TOKEN = re.compile(r"n't|'\w+|[A-Za-z]+?(?=n't)|\w+|[^\w\s]")  # close to spaCy's rules on this text
SYLLABLES = (
    "ba bel bor cas dan del dor fen gar hol jor kan kel lam lor mar mon nas nor pel quin ras ren sol tam tor ul van wes zel"
).split()


def parse(grammar: str) -> dict[str, list[list[str]]]:
    """Read the grammar: per name its alternatives, each cut into text, '-' or nothing, name, text, ..."""
    rules = {}
    for rule in re.split(r"\n+(?=\S)", grammar.strip()):
        name, alternatives = rule.split(" = ")
        rules[name] = [SLOT.split(" ".join(alternative.split())) for alternative in alternatives.split("|")]
    return rules


RULES = parse(GRAMMAR)


def expand(name: str, sign: int, random, fixed: dict[str, str]) -> str:
    """Write one alternative of ``name`` out; ``fixed`` holds what stays the same throughout a review."""
    if name in fixed:
        return fixed[name]
    if name == "rare":
        return rare(random)
    alternatives = RULES.get(name) or RULES[name + ("+" if sign > 0 else "-")]
    pieces = alternatives[int(random() * len(alternatives))]
    text = pieces[0]
    for flip, slot, after in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        text += expand(slot, -sign if flip else sign, random, fixed) + after
    return text


def rare(random) -> str:
    """A made-up family name; a few are common, most are met once."""
    return "".join(SYLLABLES[int(random() ** 2 * len(SYLLABLES))] for _ in range(3)).capitalize()


def sentence(name: str, sign: int, random, fixed: dict[str, str]) -> str:
    """Write out ``name`` with 'an' for 'a' where it belongs and a capital at its beginning."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", expand(name, sign, random, fixed))
    return text[0].upper() + text[1:]


def review(sign: int, random) -> str:
    """Write one review whose verdict is good (sign 1) or bad (sign -1)."""
    fixed = {}
    for name in ("hero", "villain", "actor", "actress"):
        fixed[name] = expand(name, sign, random, fixed)

    def say(name, sign=sign):
        text = sentence(name, sign, random, fixed)
        return text, len(TOKEN.findall(text))

    gauss = math.sqrt(-2 * math.log(1 - random())) * math.cos(2 * math.pi * random())
    wanted = min(max(TYPICAL * math.exp(SPREAD * gauss), SHORTEST), LONGEST - 30)
    verdict = say("undecided" if random() < UNDECIDED else "verdict")
    opinions = [
        say("opinion", -sign if random() < CONTRARY else sign) for _ in range(int(random() * (1.5 + wanted / 40)))
    ]
    neutral = [say("opening")] if random() < 0.5 else []
    length = sum(n for _, n in [verdict, *opinions, *neutral])
    while length < wanted:
        neutral.append(say("plot", 1 if random() < 0.5 else -1))  # emotions of the plot say nothing
        length += neutral[-1][1]
    after = 0 if random() < LATE else math.ceil(random() * len(neutral))
    before, after = neutral[: len(neutral) - after], neutral[len(neutral) - after :]
    for opinion in opinions:
        before.insert(int(random() * (len(before) + 1)), opinion)
    texts = [text for text, _ in [*before, verdict, *after]]
    style = random()
    if style < 0.06:  # some shout
        place = int(random() * len(texts))
        texts[place] = texts[place].upper()
    elif style < 0.12:
        texts = [text[:-1] + "!!!" if text[-1] == "!" else text for text in texts]
    joints = ["<br /><br />" if random() < 0.08 else " " for _ in texts[1:]]
    return "".join(text + joint for text, joint in zip(texts, [*joints, ""], strict=True))


def reviews(part: str, size: int = DEFAULT_SIZE, seed: int = DEFAULT_SEED) -> Iterator[tuple[int, int, int, str]]:
    """Yield (label, number, rating, text) of part 'train', 'test' or 'unsup' (label and rating 0)."""
    count = size if part == "train" else size // 2
    for place in range(count):
        random = Random(f"{seed}/{part}/{place}").random
        label, number = (place % 2, place // 2)
        sign = 1 if label else -1
        if part != "unsup" and random() < NOISE:
            sign = -sign
        rating = (7 if label else 1) + int(random() * 4)
        text = review(sign, random)
        yield (0, place, 0, text) if part == "unsup" else (label, number, rating, text)


def tokens(text: str) -> list[str]:
    """Lower-case words and signs, near enough to spaCy's for computing vectors."""
    return TOKEN.findall(text.replace("<br />", " ").lower())


def vectors(texts: list[str]) -> tuple[list[str], np.ndarray]:
    """Words, the most frequent first, and their vectors (V, 300), the weightiest dimension first.

    Positive pointwise mutual information of neighbours, weighted by 1/distance as in GloVe, then a truncated SVD
    (Levy, Goldberg and Dagan 2015, with their smoothing by the power 0.75).
    """
    split = [tokens(text) for text in texts]
    counts = Counter(token for text in split for token in text)
    words = [word for n, word in sorted((-n, word) for word, n in counts.items()) if -n >= RAREST][:VECTOR_WORDS]
    V = len(words)
    number = {word: i for i, word in enumerate(words)}
    gap = [V] * WINDOW  # keeps the reviews apart; V stands for every word without a vector
    flat = np.array([i for text in split for i in [*(number.get(token, V) for token in text), *gap]])
    pairs = np.zeros((V + 1) ** 2)
    for distance in range(1, WINDOW + 1):
        pairs += np.bincount(flat[:-distance] * (V + 1) + flat[distance:], minlength=len(pairs)) / distance
    pairs = pairs.reshape(V + 1, V + 1)[:V, :V]
    pairs += pairs.T
    share = pairs.sum(0) ** 0.75
    with np.errstate(divide="ignore"):
        information = np.log(pairs / pairs.sum(1, keepdims=True) / (share / share.sum()))
    u, s, _ = np.linalg.svd(np.maximum(information, 0))
    u *= np.sign(u[np.abs(u).argmax(0), np.arange(V)])  # a singular vector's sign is arbitrary
    table = np.zeros((V, max(DIMENSIONS)))  # a tiny corpus has fewer words than dimensions
    k = min(table.shape)
    table[:, :k] = u[:, :k] * s[:k] ** POWER
    return words, table


def write(folder, size: int = DEFAULT_SIZE, seed: int = DEFAULT_SEED) -> None:
    """Write the corpus (``aclImdb/``) and its vectors (``glove.6B.{100,300}d.txt``) as ``folder``, atomically.

    ``size`` is the number of labelled training reviews, at least 100; the other parts hold half as many each.
    """
    if size < 100:
        raise LabError(f"合成影评的篇数{size}太少：至少要100篇训练影评。")
    if Path(folder).exists():
        raise LabError(f"{folder}已经存在，合成影评不会覆盖它。请换一个文件夹，或先删除它。")
    with files.atomic_folder(folder) as new:
        for part in ("train", "test", "unsup"):
            for label, number, rating, text in reviews(part, size, seed):
                place = "train/unsup" if part == "unsup" else f"{part}/{('neg', 'pos')[label]}"
                path = new / "aclImdb" / place / f"{number}_{rating}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
        learned = (text for part in ("train", "unsup") for *_, text in islice(reviews(part, size, seed), VECTOR_TEXT))
        words, table = vectors(list(learned))
        for dimensions in DIMENSIONS:
            columns = table[:, :dimensions]
            columns = np.round(columns / columns.std() * SPACING, 5) + 0.0  # no -0.00000
            with open(new / f"glove.6B.{dimensions}d.txt", "w", encoding="utf-8", newline="\n") as file:
                for word, row in zip(words, columns, strict=True):
                    file.write(f"{word} {' '.join(f'{value:.5f}' for value in row)}\n")
