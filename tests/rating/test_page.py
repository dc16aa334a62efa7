"""The page in a browser: a whole study by keyboard alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.rating import method_shown, served, write_a_study
from helpers.rating_kills import free_port, start
from unbleed.rating.answers import read_raters

pytestmark = pytest.mark.slow


def until(found: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


KEY = "const press = (key, repeat) => dispatchEvent(new KeyboardEvent('keydown', {key, repeat}));"
PRESS_TWICE = """
    const done = arguments[0];
    const again = () => {
        if (at !== 2 || document.getElementById('pair').classList.contains('loading')) return requestAnimationFrame(again);
        press('ArrowRight', false);  // as soon as the next pair is there
        done(saving);
    };
    press('ArrowRight', false);
    again();
"""


class Page:
    """What a rater does and sees."""

    def __init__(self, browser: object) -> None:
        self.browser = browser

    def __call__(self, script: str) -> object:
        return self.browser.execute_script(f"return {script}")  # type: ignore[attr-defined]

    def press(self, key: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(key).perform()  # type: ignore[arg-type]

    def at(self, number: int) -> None:
        """Wait until the pair with this number is there, with both pictures."""
        until(lambda: self("typeof at === 'number' && ready && at") == number if number else self("ready && at === 0"))

    def shows(self, section: str) -> bool:
        return self(f"!document.getElementById('{section}').hidden") is True

    def text(self, section: str) -> str:
        return str(self(f"document.getElementById('{section}').textContent"))


def test_20_pairs_by_keyboard_with_a_reload_in_the_middle(tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    from helpers.browser import chromium

    study = write_a_study(tmp_path, prompts=20, catches=2, repeats=2, break_every=12)
    with served(tmp_path, study) as server, chromium() as browser:
        page = Page(browser)
        browser.get(server.url)
        until(lambda: page.shows("join"))
        page.press(Keys.ENTER)  # Begin has the focus
        page.at(0)
        link = browser.current_url
        said = {0: "tie", 1: "bad"}
        page.press(Keys.ARROW_DOWN)
        page.at(1)
        page.press(Keys.ARROW_UP)
        rater = server.log.rater(link[-32:])
        assert rater is not None

        def choose(number: int) -> None:
            """Prefer the second method, wherever it is; the whole picture of a catch."""
            page.at(number)
            trial = rater.trials[number]
            said[number] = "left" if trial.left == (0 if trial.kind == "catch" else 1) else "right"
            page.press({"left": Keys.ARROW_LEFT, "right": Keys.ARROW_RIGHT}[said[number]])

        for number in range(2, 11):
            choose(number)
        page.at(11)
        assert page("performance.getEntriesByType('resource').filter(e => /images.12.(left|right)$/.test(e.name)).length") == 2
        browser.refresh()
        page.at(11)
        assert (page.text("count"), page("document.getElementById('progress').value")) == ("12 of 24", 11)
        page.press("1")
        assert (
            page("document.getElementById('large').open && document.getElementById('enlarged').src") == f"{link}/images/11/left"
        )
        page.press(Keys.ARROW_LEFT)  # closes it, and answers nothing
        assert page("document.getElementById('large').open || trials[11].answer") is None
        choose(11)
        until(lambda: page.shows("pause"))
        assert ("12 of 24 are done." in page.text("sofar"), page.text("link")) == (True, link)
        page.press(Keys.ENTER)
        for number in range(12, 24):
            choose(number)
        until(lambda: page.shows("done"))
        page.press(Keys.BACKSPACE)
        page.at(23)
        assert page("document.querySelector('[aria-pressed=true]').dataset.answer") == said[23]
        page.press(Keys.ARROW_DOWN)
        said[23] = "tie"
        until(lambda: page.shows("done"))
        assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    (kept,) = read_raters(tmp_path, study)
    assert {number: answer.answer for number, answer in kept.answers.items()} == said
    assert [kept.answers[number].version for number in (22, 23)] == [1, 2]
    assert all(0 < answer.seconds < 60 for answer in kept.answers.values())


def test_a_rater_goes_on_from_the_start_page_and_a_key_held_or_pressed_twice_answers_once(tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    from helpers.browser import chromium

    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server, chromium(390, 844, dark=True) as browser:
        page = Page(browser)
        browser.get(server.url)
        until(lambda: page.shows("join"))
        page.press(Keys.ENTER)
        page.at(0)
        link = browser.current_url
        page.press(Keys.ARROW_LEFT)
        page.at(1)
        browser.execute_script(KEY + "press('ArrowLeft', true)")  # it is still held down
        assert page("saving") is False
        assert browser.execute_async_script(KEY + PRESS_TWICE) is False
        page.at(2)
        browser.get(server.url)
        until(lambda: page.shows("again"))
        page.press(Keys.ENTER)  # "Go on where you stopped" has the focus
        page.at(2)
        assert browser.current_url == link
        assert page("document.documentElement.scrollWidth") == 390
        buttons = "[...document.querySelectorAll('button')].filter(button => button.offsetParent)"
        assert page(f"{buttons}.filter(button => button.offsetHeight < 40).map(button => button.id)") == []  # for a finger
    (kept,) = read_raters(tmp_path, study)
    assert [answer.answer for answer in kept.answers.values()] == ["left", "right"]


def test_an_enlarged_picture_changes_to_the_other_in_the_same_place(tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    from helpers.browser import chromium

    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server, chromium(390, 844) as browser:
        page = Page(browser)
        browser.get(server.url)
        until(lambda: page.shows("join"))
        page.press(Keys.ENTER)
        page.at(0)

        def enlarged() -> object:
            """Return the side that is shown, where it is, and the side that is said."""
            side = "document.getElementById('enlarged').src.split('/').at(-1)"
            box = "JSON.stringify(document.getElementById('enlarged').getBoundingClientRect())"
            return page(f"[{side}, {box}, document.querySelector('[data-large][aria-pressed=true]').dataset.large]")

        browser.find_element("css selector", "[data-enlarge=left]").click()
        side, box, said = enlarged()  # type: ignore[misc]
        assert (side, said) == ("left", "left")
        assert page("document.getElementById('large').offsetWidth - document.getElementById('enlarged').offsetWidth") == 12
        assert page("document.getElementById('enlarged').offsetWidth") == 366
        browser.find_element("css selector", "[data-large=right]").click()
        assert enlarged() == ["right", box, "right"]
        page.press("1")
        assert enlarged() == ["left", box, "left"]
        assert page("[...document.querySelectorAll('dialog button')].filter(one => one.offsetHeight < 40).length") == 0
        browser.find_element("css selector", "#close").click()
        assert page("document.getElementById('large').open") is False
        page.press("2")
        page.press(Keys.TAB)  # moves the focus among the three buttons
        assert page("document.getElementById('large').open && document.activeElement.closest('dialog') !== null") is True
        page.press(Keys.ESCAPE)
        assert page("document.getElementById('large').open || trials[0].answer") is None


def test_a_prompt_with_html_is_shown_as_it_is(tmp_path: Path) -> None:
    from dataclasses import replace

    from selenium.webdriver.common.keys import Keys

    from helpers.browser import chromium
    from unbleed.rating.study import write_study

    hostile = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
    study = write_a_study(tmp_path, prompts=1, catches=0, repeats=0)
    study = replace(study, pairs=(replace(study.pairs[0], prompt=hostile),), question=f"Which? {hostile}")
    write_study(tmp_path, study)
    with served(tmp_path, study) as server, chromium() as browser:
        page = Page(browser)
        browser.get(server.url)
        until(lambda: page.shows("join"))
        page.press(Keys.ENTER)
        page.at(0)
        assert page.text("prompt") == hostile
        assert page.text("question") == browser.title == f"Which? {hostile}"
        assert page("document.querySelectorAll('main script, main img').length") == 2  # the two pictures
        assert {method_shown(browser_png(browser, side)) for side in ("left", "right")} == {0, 1}


def browser_png(browser: object, side: str) -> bytes:
    import base64

    script = f"""const done = arguments[0];
        fetch(document.getElementById('{side}').src).then(r => r.bytes ? r.bytes() : r.arrayBuffer())
            .then(b => done(btoa(String.fromCharCode(...new Uint8Array(b)))))"""
    return base64.b64decode(browser.execute_async_script(script))  # type: ignore[attr-defined]


def test_a_server_that_is_away_for_a_while_costs_no_answer(tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    from helpers.browser import chromium

    study = write_a_study(tmp_path)
    port = free_port()
    with chromium() as browser:
        page = Page(browser)
        process = start(tmp_path, port)
        browser.get(f"http://127.0.0.1:{port}/")
        until(lambda: page.shows("join"))
        page.press(Keys.ENTER)
        page.at(0)
        until(lambda: page("preloaded.has(1) && preloaded.get(1).every(image => image.complete)"))
        process.kill()
        process.communicate()
        page.press(Keys.ARROW_LEFT)
        until(lambda: "the server does not answer" in page.text("note"))
        process = start(tmp_path, port)
        page.at(1)
        assert page.text("note") == ""
        process.kill()
        process.communicate()
    (kept,) = read_raters(tmp_path, study)
    assert [(answer.trial, answer.version, answer.answer) for answer in kept.answers.values()] == [(0, 1, "left")]


def test_two_windows_of_one_link_and_the_browsers_own_back_lose_nothing_and_answer_nothing_twice(tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    from helpers.browser import chromium

    study = write_a_study(tmp_path, prompts=6, catches=0, repeats=0)
    with served(tmp_path, study) as server, chromium() as browser:
        page = Page(browser)
        browser.get(server.url)
        until(lambda: page.shows("join"))
        page.press(Keys.ENTER)
        page.at(0)
        link, first = browser.current_url, browser.current_window_handle
        browser.switch_to.new_window("tab")
        browser.get(link)
        page.at(0)
        second = browser.current_window_handle
        browser.switch_to.window(first)
        for number in range(2):
            page.press(Keys.ARROW_LEFT)
            page.at(number + 1)
        browser.switch_to.window(second)
        page.press(Keys.ARROW_RIGHT)  # to the first pair, which the other window has answered
        page.at(2)
        assert page.text("note") == "this pair was answered in another window; load the page again"
        page.press(Keys.ARROW_DOWN)
        page.at(3)
        browser.get("about:blank")
        browser.back()
        page.at(3)
        page.press(Keys.BACKSPACE)
        page.at(2)
        assert page("document.querySelector('[aria-pressed=true]').dataset.answer") == "tie"
        page.press(Keys.ARROW_UP)
        page.at(3)
        browser.refresh()
        page.at(3)
    (kept,) = read_raters(tmp_path, study)
    said = {number: (answer.answer, answer.version) for number, answer in kept.answers.items()}
    assert said == {0: ("left", 1), 1: ("left", 1), 2: ("bad", 2)}
