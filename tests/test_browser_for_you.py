"A list of one's own, in a real Chromium: ratings that stay in the browser."

import json

import pytest

from movierec.web import said_title


def give(page, title, stars):
    "Rate a film as a person does."
    page.get_by_role("group", name=f"Your rating of {title}", exact=True).get_by_label(
        f"{stars} of 5"
    ).check(force=True)


def listed(page):
    "The titles in the list for you, once it is there."
    page.locator(".list .caption").first.wait_for()
    return page.locator(".list .caption .name").all_inner_texts()


def test_for_you(open_page, recommender):
    page = open_page("/movies/100")
    give(page, "Fargo", 5)
    page.get_by_role("link", name="For you").click()
    first = [
        said_title(item["title"], item["year"])[0]
        for item in recommender.recommend({100: 5}, 12).items
    ]
    assert listed(page) == first
    assert (
        "because you liked Fargo (1996)"
        in page.locator(".list .why").first.text_content()
    )
    assert page.locator(".rated").get_by_text("Fargo").is_visible()
    with page.expect_response("**/for-you"):
        give(page, "Star Wars", 1)
    both = [
        said_title(item["title"], item["year"])[0]
        for item in recommender.recommend({50: 1, 100: 5}, 12).items
    ]
    page.wait_for_function(
        "titles => titles == "
        "[...document.querySelectorAll('.list .name')].map(e => e.textContent).join()",
        arg=",".join(both),
    )
    assert both != first
    page.get_by_label("Variety").focus()
    with page.expect_response("**/for-you"):
        page.keyboard.press("End")
    page.reload()
    assert listed(page) == both  # kept in the browser
    with page.expect_response("**/for-you"):
        page.get_by_role("button", name="Remove Star Wars").click()
    page.get_by_role("button", name="Forget them all").click()
    assert page.get_by_role("heading", name="Your ratings").count() == 0
    assert (
        page.evaluate("localStorage.getItem('movierec.ratings')") == "{}"
        and page.context.cookies() == []
    )


@pytest.mark.parametrize(
    "stored",
    ["not JSON", "[1]", '{"50": {"title": "<img src=x>", "stars": 9}, "x": 1}', "null"],
)
def test_ratings_that_somebody_has_broken_are_ignored(open_page, stored):
    page = open_page("/for-you")
    page.evaluate("stored => localStorage.setItem('movierec.ratings', stored)", stored)
    page.reload()
    give(page, "Fargo", 4)
    assert len(listed(page)) == 12


def test_ratings_of_films_that_are_gone_are_left_out_and_titles_are_text(open_page):
    page = open_page("/for-you")
    unknown = {"title": "<img src=x onerror=alert(1)>", "stars": 5}
    stored = json.dumps({"99999": unknown, "50": {"title": "Star Wars", "stars": 5}})
    page.evaluate("stored => localStorage.setItem('movierec.ratings', stored)", stored)
    page.reload()
    assert (
        len(listed(page)) == 12
        and page.get_by_text("1 of your ratings is of a film").is_visible()
    )
    assert (
        page.locator("img").count() == 0 and page.get_by_text("<img src=x").is_visible()
    )


def test_a_list_that_cant_be_had_says_so(open_page):
    page = open_page("/for-you")
    page.context.set_offline(True)
    give(page, "Fargo", 4)
    page.get_by_role("alert").get_by_text(
        "be had just now. Your ratings are safe"
    ).wait_for()
    page.context.set_offline(False)
    open_page.trouble.clear()  # Chromium reports what could not be reached
    give(page, "Fargo", 5)
    assert len(listed(page)) == 12


def test_a_browser_that_keeps_nothing_says_so(browser, server):
    with browser.new_context(base_url=server) as context:
        context.add_init_script(
            "Storage.prototype.setItem = () => { throw new Error('full') }"
        )
        page = context.new_page()
        page.goto("/movies/50")
        page.get_by_label("5 of 5").click(force=True)
        assert page.get_by_label("5 of 5").is_checked() is False
        assert page.get_by_role("alert").get_by_text("your rating is lost").is_visible()
