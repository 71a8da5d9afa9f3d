"""The page that shows how an answer came about, in a real browser; its traces come from models that really decode."""

import json
import math
import pickle
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Keys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from deepen_llm import Bayes, Deepen, EnsembleLLM, FusionMethod, Output
from deepen_llm.members.local.member import LocalMember
from deepen_llm.outputs.trace import Trace
from deepen_llm.testing import TokenScript, scripted
from tests.models import small
from tests.outputs.browser import Browser, chromium
from tests.tokenizers import END_OF_TEXT

PROMPT = "The quick brown fox:"
ARABIC = "قال الرجل: مرحبًا بالعالم، ثم كتب hello وانصرف."
HEBREW = "שלום עולם, 42."
HOSTILE = (
    "<script>document.title='moved'</script></script></style>--><img src=x onerror=\"document.title='moved'\">"
    "<iframe srcdoc='x'></iframe> &amp; &lt; {{ 7*7 }} {% raw %} \"quoted\" 'single' `${1}` ]]> \\u003c"
)
AWKWARD = f"\tdef f(x):\n    return  x \n👩‍💻 世界 €\n\u202eevil\u202c hidden\u200b\x00\x07 {HOSTILE}\n"
TEXT = f" Hello, world!\n{ARABIC}\n{HEBREW}\n{AWKWARD}"
FUSIONS: list[FusionMethod] = [Deepen(relr=0.3), Deepen(relr=0.3, anchors="pairwise", search_steps=7), Bayes()]


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """Byte-level BPE that knows some Arabic words whole and spells Hebrew and emoji byte by byte."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=440, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([ARABIC[:24], "Hello, world! return the quoted", HOSTILE] * 2, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT)


def member(name: str, text: str, *, strength: float, wrong: slice) -> LocalMember:
    """A model that says the text, but for some tokens of ASCII: there its name's first letter."""
    model, own = scripted(tokenizer(), PROMPT, text, strength=strength)
    said = own.encode(PROMPT + text)
    begin = len(own.encode(PROMPT))
    for place in range(begin, len(said))[wrong]:
        said[place] = own.encode(name)[0] if own.decode([said[place]]).isascii() else said[place]
    model.script = TokenScript([*said, own.eos_token_id], strength)
    return LocalMember(model, own, name=name)


@cache
def answer(text: str = TEXT) -> Output:
    """The text, its main model put right by two others, and these by a fourth."""
    members = [
        member("<b>main</b>", text, strength=4, wrong=slice(1, None, 2)),
        member("curie", text, strength=9, wrong=slice(1, None, 4)),
        member("web\"ster'", text, strength=9, wrong=slice(3, None, 4)),
        member("fourth", text, strength=6, wrong=slice(0)),
    ]
    return EnsembleLLM(members, fusion="bayes").generate(PROMPT, max_new_tokens=1000, trace=True)


def trace_of(output: Output) -> Trace:
    assert output.trace is not None
    return output.trace


def mixed(fusion: FusionMethod) -> EnsembleLLM:
    return EnsembleLLM([small("llama", "byte_level_bpe"), small("gpt2", "sentencepiece_bpe", 1)], fusion=fusion)


@pytest.mark.parametrize("fusion", FUSIONS, ids=["joint", "pairwise", "bayes"])
def test_the_course_begins_at_the_main_model_and_ends_at_the_fused_distribution(fusion: FusionMethod) -> None:
    options: dict[str, Any] = {
        "max_new_tokens": 6,
        "temperature": 1.0,
        "seed": 2,
        "n": 2,
        "trace": True,
        "logprobs": 0,
    }
    output = mixed(fusion).generate([PROMPT, "1, 2,"], **options)[1]
    plain = mixed(fusion).generate([PROMPT, "1, 2,"], **{**options, "trace": False})[1]
    assert [replace(sample, trace=None) for sample in output.samples] == list(plain.samples)
    alone = EnsembleLLM([small("llama", "byte_level_bpe")])
    own = alone.generate("1, 2,", max_new_tokens=1, logprobs=len(small("llama", "byte_level_bpe")[1]))
    main = {one.token: one.logprob for one in (own.logprobs or ())[0].top}
    for sample in output.samples:
        assert sample.trace is not None
        for token in sample.trace:
            searched = isinstance(fusion, Deepen) and token.members[0].weight < 1
            assert len(token.search_path) == (getattr(fusion, "search_steps", 0) + 1 if searched else 0)
            if searched:
                assert token.search_path[-1].probability == pytest.approx(math.exp(token.chosen.logprob), rel=1e-3)
                assert token.search_path[-1].objective < token.search_path[0].objective
        if first := sample.trace[0].search_path:
            assert first[0].probability == pytest.approx(math.exp(main[sample.tokens[0]]), rel=1e-3)


def test_a_trace_is_a_tuple_that_can_be_kept() -> None:
    trace = trace_of(answer())
    assert isinstance(trace, tuple)
    again = pickle.loads(pickle.dumps(trace))  # noqa: S301
    assert type(again) is Trace
    assert again == trace
    assert again.to_html() == trace.to_html()
    assert len(json.loads(json.dumps(asdict(answer().samples[0])["trace"]))) == len(trace)


def test_who_moved_a_token_holds_it_likelier_than_the_main_model() -> None:
    trace = trace_of(answer())
    assert "".join(token.text for token in trace) == answer().text == TEXT
    movers = {token.moved_by for token in trace}
    assert movers == {None, "curie", "web\"ster'"}
    for token in trace:
        assert token.moved_by is None or (token.changed and f"{token.moved_by} holds it at" in token.reason)
    weightless = EnsembleLLM([small("llama", "byte_level_bpe"), small("llama", "byte_level_bpe", 3)], weights=[1, 0])
    drawn = weightless.generate(PROMPT, max_new_tokens=20, temperature=2.0, seed=1, trace=True).trace or ()
    assert any(token.changed for token in drawn)
    assert {token.moved_by for token in drawn} == {None}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as one:
        yield one


def test_the_text_is_text_whatever_it_holds(browser: Browser) -> None:
    page = trace_of(answer()).to_html()
    browser.open(page)
    shown = browser.run("return document.getElementById('text').textContent")
    unseen = re.compile("[\u202e\u202c\u200b\x00\x07]")
    assert shown == unseen.sub("", answer().text)
    signs = browser.run("return [...document.querySelectorAll('[data-sign]')].map((one) => one.dataset.sign)")
    for sign in ("U+202E", "U+200B", "␀", "␇", "⇥", "↵", "end"):
        assert sign in signs
    assert "\ufffd" not in browser.text("body")
    assert browser.driver.title == "How this answer came about"
    assert browser.run("return document.scripts.length") == 2
    assert not browser.find("img, iframe, link, main b script")
    for place in range(0, len(trace_of(answer())), 7):
        browser.run("document.querySelectorAll('.text .token')[arguments[0]].focus()", place)
    assert not browser.find("#panel img, #panel script, #panel iframe")
    assert "<b>main</b>" in browser.text("#panel")
    assert browser.complaints() == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:)?//""", page)


def test_its_policy_allows_no_other_script(browser: Browser) -> None:
    browser.open(trace_of(answer()).to_html())
    add = "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s)"
    browser.run(add)
    browser.run("document.body.append(Object.assign(new Image(), {src: 'https://example.org/x.png'}))")
    assert browser.driver.title == "How this answer came about"
    assert len([one for one in browser.complaints() if "Content Security Policy" in one]) == 2


def test_pointing_shows_what_each_member_said(browser: Browser) -> None:
    trace = trace_of(answer())
    browser.open(trace.to_html())
    place = next(i for i, token in enumerate(trace) if token.moved_by == "curie" and token.text.strip())
    token, spans = trace[place], browser.find(".text .token")
    assert len(spans) == len(trace)
    ActionChains(browser.driver).move_to_element(spans[place]).perform()
    panel = browser.text("#panel")
    assert f"{place + 1} of {len(trace)}" in panel
    assert "curie holds it at" in panel
    assert "closed form" in panel
    for view in token.members:
        assert f"{view.name} weight {view.weight:.2f}" in panel
        assert f"{math.exp(view.top[0].logprob):.3f}" in panel
    assert "moved by curie" in (spans[place].get_attribute("aria-label") or "")


def test_the_keyboard_goes_everywhere(browser: Browser) -> None:
    trace = trace_of(answer(" Hello, world! return the quoted 1 2 3\n" * 2))
    browser.open(trace.to_html())
    keys = ActionChains(browser.driver)

    def press(*pressed: str) -> int:
        for key in pressed:
            keys.send_keys(key).perform()
        return int(browser.run("return [...document.querySelectorAll('.text .token')].indexOf(document.activeElement)"))

    assert press(Keys.TAB) == 0
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert press(Keys.RIGHT, Keys.RIGHT) == 2
    assert press(Keys.LEFT) == 1
    below = press(Keys.DOWN)
    assert below > 1
    assert press(Keys.UP) == 1
    assert press(Keys.END) == len(trace) - 1
    assert press(Keys.RIGHT) == len(trace) - 1
    assert press(Keys.HOME, Keys.LEFT) == 0
    assert browser.run("return document.querySelectorAll('.text .token[tabindex=\"0\"]').length") == 1
    assert browser.run("return document.getElementById('status').textContent") == trace[0].reason
    press(Keys.ENTER, Keys.RIGHT)
    assert browser.find(".text .token")[0].get_attribute("aria-pressed") == "true"
    assert "pinned, 1 of" in browser.text("#panel")
    press(Keys.ESCAPE)
    assert "pinned" not in browser.text("#panel")
    assert not browser.find("[aria-pressed=true]")
    press(Keys.ESCAPE)
    assert "arrow keys" in browser.text("#panel")
    browser.find(".text .token")[3].click()
    assert "pinned, 4 of" in browser.text("#panel")
    assert browser.complaints() == []


WIDTHS = """
const text = document.getElementById('text'), range = document.createRange();
range.setStartBefore(text.firstChild);
range.setEndBefore(text.lastChild);
const left = Math.min(...[...range.getClientRects()].map((box) => box.left));
const right = Math.max(...[...range.getClientRects()].map((box) => box.right));
const whole = Object.assign(document.createElement('span'), {textContent: range.toString()});
text.replaceChildren(whole);
const box = whole.getBoundingClientRect();
return [right - left, box.width];
"""


def test_text_from_right_to_left(browser: Browser) -> None:
    trace = trace_of(answer(f" {ARABIC}"))
    browser.open(trace.to_html())
    spans = browser.find(".text .token")
    assert spans[0].rect["x"] > spans[2].rect["x"]
    browser.run("arguments[0].focus()", spans[0])
    ActionChains(browser.driver).send_keys(Keys.LEFT).perform()
    assert browser.driver.switch_to.active_element == spans[1]
    split, whole = browser.run(WIDTHS)
    assert split == pytest.approx(whole, abs=2)  # letters join over the tokens' boundaries


CONTRASTS = """
const paper = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
const canvas = paper.getContext('2d', {willReadFrequently: true});
const over = (colors) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (rgb) => {
  const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && [...one.childNodes].some(
  (node) => node.nodeType === 3 && node.data.trim())).map((one) => {
  const behind = [];
  for (let up = one; up; up = up.parentElement) behind.unshift(getComputedStyle(up).backgroundColor);
  const [back, ink] = [light(over(behind)), light(over([...behind, getComputedStyle(one).color]))];
  return (Math.max(back, ink) + 0.05) / (Math.min(back, ink) + 0.05);
});
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read_in_both_colour_schemes(browser: Browser, dark: bool) -> None:
    browser.open(trace_of(answer()).to_html(), dark=dark)
    browser.run("document.querySelectorAll('.text .token')[0].click()")
    paper = browser.run("return getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 3 * 128) == dark
    contrasts = browser.run(CONTRASTS)
    assert len(contrasts) > len(trace_of(answer())) / 2
    assert min(contrasts) >= 4.5
    lines = browser.run(
        "return [...document.querySelectorAll('.legend .token')].map("
        "(one) => getComputedStyle(one).textDecorationStyle)"
    )
    assert len(set(lines)) == len(lines) == 3  # colour is not all that tells members apart


def test_it_fits_a_narrow_window_and_paper(browser: Browser) -> None:
    browser.open(trace_of(answer()).to_html(), width=320)
    assert browser.run("return document.documentElement.scrollWidth") <= 320
    browser.run("document.querySelectorAll('.text .token')[40].focus()")
    token, panel = (
        browser.run(f"return document.querySelector('{one}').getBoundingClientRect().toJSON()")
        for one in (".current", "#panel")
    )
    assert token["bottom"] <= panel["top"]
    browser.open(trace_of(answer()).to_html(), media="print")
    assert not browser.find("#panel")[0].is_displayed()
    assert browser.run("return document.querySelector('ol li').checkVisibility()")


def test_the_search_is_drawn(browser: Browser) -> None:
    trace = trace_of(mixed(FUSIONS[0]).generate(PROMPT, max_new_tokens=4, trace=True))
    browser.open(trace.to_html())
    browser.run("document.querySelector('.text .token').focus()")
    assert "The search, 5 steps" in browser.text("#panel")
    assert len(browser.find("#panel svg path")) == 2
    browser.find("#panel summary")[0].click()
    steps = browser.text(".steps")
    for number, step in enumerate(trace[0].search_path):
        assert f"{number} " in steps
        assert f"{step.probability:.8f}"[:5] in steps


def test_a_long_answer_opens_quickly(browser: Browser) -> None:
    tokens = trace_of(answer())
    long = Trace((tokens * (2000 // len(tokens) + 1))[:2000])
    browser.open(long.to_html())
    assert len(browser.find(".text .token")) == 2000
    assert browser.run("return performance.getEntriesByType('navigation')[0].duration") < 3000
    spent = "const begin = performance.now(); document.querySelectorAll('.text .token')[1990].focus();"
    assert browser.run(spent + "return performance.now() - begin") < 500


def test_notebooks_show_several_that_do_not_touch_each_other(browser: Browser) -> None:
    frames = trace_of(answer())._repr_html_() + trace_of(answer(f" {ARABIC}"))._repr_html_()
    browser.open(f"<!doctype html><title>notebook</title><p id='text'>mine</p>{frames}")
    for number, output in enumerate((answer(), answer(f" {ARABIC}"))):
        frame = browser.find("iframe")[number]
        browser.driver.switch_to.frame(frame)
        browser.run("document.querySelector('.text .token').focus()")
        assert f"1 of {len(output.tokens)}" in browser.text("#panel")
        reach = "try { return parent.document.title } catch (error) { return error.name }"
        assert browser.run(reach) == "SecurityError"
        browser.driver.switch_to.default_content()
    assert browser.text("#text") == "mine"
    assert browser.complaints() == []


def test_members_that_were_not_asked_and_answers_without_tokens(browser: Browser) -> None:
    sure, other = scripted(tokenizer(), PROMPT, " Hello", strength=18), small("gpt2", "sentencepiece_bpe")
    trace = trace_of(EnsembleLLM([sure, other], gate="unsure").generate(PROMPT, max_new_tokens=2, trace=True))
    assert (trace[0].members[1].top, trace[0].moved_by, trace[0].search_path) == ((), None, ())
    browser.open(trace.to_html())
    browser.run("document.querySelector('.text .token').focus()")
    assert "Not asked at this token." in browser.text("#panel")
    assert "Nothing was fused here" in browser.text("#panel")
    browser.open(Trace().to_html())
    assert "No token was generated." in browser.text("#text")
    assert browser.complaints() == []
