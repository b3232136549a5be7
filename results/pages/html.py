"""HTML from nested calls: what is not markup already is escaped, so no name or message can break a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from results.figures.figure import Figure

KEY_NAME = "report-key"
"""Name of the meta element that says which record and which code a page was made from."""

_VOID = frozenset({"img", "meta", "br"})

_STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;font:16px/1.5 "DejaVu Sans",Verdana,system-ui,sans-serif;color:#1c2733;background:#fff}
main{margin:0 auto;padding:1rem}
main>p,main>section>p,main>section>ul,main>section>ol{max-width:60rem}
nav{font-size:.9rem;margin-bottom:.5rem}
h1{font-size:1.6rem;line-height:1.25;margin:.3rem 0 .6rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:2px solid #d7dde4;padding-bottom:.2rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
a{color:#0b5394}
a:focus-visible,.scroll:focus-visible,summary:focus-visible{outline:3px solid #e69f00;outline-offset:2px}
.banner{background:#fff3cd;border-left:6px solid #b8860b;padding:.5rem .8rem;font-weight:bold}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.86rem;margin:.4rem 0}
caption{text-align:left;font-size:.86rem;padding:.2rem 0;color:#44505c}
th,td{padding:.28rem .5rem;border:1px solid #d7dde4;text-align:left;vertical-align:top}
thead th{background:#eef2f6}
th.group{background:#f6f8fa;font-weight:bold}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
thead th:first-child,tbody th[scope=row]{position:sticky;left:0;z-index:1}
tbody th[scope=row]{background:#fff;text-align:left}
td.n a,sup a{text-decoration:none}
td.n a:hover,sup a:hover{text-decoration:underline}
td.n small{display:block;color:#55606c}
th.up{vertical-align:bottom;text-align:left}
th.up span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:12rem}
td.shade small{color:inherit}
img{max-width:100%;height:auto;display:block}
figure{margin:.6rem 0}
figcaption{font-size:.86rem;color:#44505c}
.tiles{display:flex;flex-wrap:wrap;gap:.7rem}
.tiles figure{margin:0;width:16rem;max-width:100%}
.tiles img,td img{image-rendering:auto;width:100%}
td.tile{min-width:11rem;max-width:18rem}
tbody th[scope=row]{max-width:16rem;overflow-wrap:break-word}
.key{display:inline-block;width:1.1em;height:1.1em;vertical-align:-.15em;border:1px solid #55606c;margin-right:.35em}
ul.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;font-size:.9rem}
pre{font-size:.8rem;background:#f6f8fa;padding:.6rem;overflow-x:auto}
li{margin:.15rem 0;overflow-wrap:anywhere}
@media print{nav{display:none}.scroll{overflow:visible}}
"""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """One element.

    Args:
        name: Of the element.
        content: Text is escaped, `Markup` is not; None leaves nothing.
        attributes: A trailing underscore is cut (`class_`), others become dashes; None leaves the attribute out.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{said}>" if name in _VOID else f"<{name}{said}>{join(content)}</{name}>")


def join(content: Iterable[object]) -> Markup:
    """Pieces after each other."""
    return Markup("".join(one if isinstance(one, Markup) else escape(str(one)) for one in content if one is not None))


def link(target: str, *content: object) -> Markup:
    """A link to a file beside or below."""
    return tag("a", *content, href=quote(target))


def table(heads: Sequence[object], rows: Sequence[Sequence[object]], caption: str) -> Markup:
    """A table whose first column names the rows; numbers, None and intervals stand to the right."""
    body = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", value, class_=_side(value)) for value in row[1:]))
        for row in rows
    ]
    head = tag("tr", *(tag("th", text, scope="col") for text in heads))
    return scroll(tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body)), caption)


def scroll(content: Markup, label: str) -> Markup:
    """What may be wider than a phone, in a frame of its own that the keyboard can scroll."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def facts(rows: Iterable[tuple[str, object]], caption: str) -> Markup:
    """Names and values; what is empty is left out."""
    kept = [
        tag("tr", tag("th", name, scope="row"), tag("td", value))
        for name, value in rows
        if value not in (None, "", (), [])
    ]
    return scroll(tag("table", tag("caption", caption), tag("tbody", *kept)), caption) if kept else Markup("")


def items(texts: Iterable[object]) -> Markup:
    """A list; nothing without items."""
    found = [tag("li", text) for text in texts]
    return tag("ul", *found) if found else Markup("")


def section(title: str, *content: object) -> Markup:
    """A part of a page."""
    return tag("section", tag("h2", title), *content)


def picture(figure: Figure, caption: str = "", folder: str = "") -> Markup:
    """A figure with its words and the numbers it was drawn from."""
    width, height = figure.size
    numbers = link(folder + figure.table_file, "numbers (CSV)") if figure.table else None
    words = tag("figcaption", caption, " " if caption and numbers else None, numbers) if caption or numbers else None
    return tag("figure", image(folder + figure.file, figure.alt, width, height), words)


def image(source: str, alt: str, width: int | None = None, height: int | None = None) -> Markup:
    """A picture that is fetched when it comes into view."""
    return tag("img", src=quote(source), alt=alt, width=width, height=height, loading="lazy")


def page(
    title: str, body: Sequence[object], *, key: str, banner: str = "", up: Sequence[tuple[str, str]] = ()
) -> bytes:
    """A whole page.

    Args:
        title: Stands in the window and as the heading.
        body: Its parts.
        key: Of what it was made from.
        banner: A warning above everything.
        up: Links back, outermost first.
    """
    crumbs = join(piece for place, text in up for piece in (link(place, text), " / "))
    main = tag(
        "main",
        tag("nav", crumbs, aria_label="where this page is") if up else None,
        tag("h1", title),
        tag("p", banner, class_="banner", role="note") if banner else None,
        *body,
    )
    head = join(
        (
            Markup('<meta charset="utf-8">\n'),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            "\n",
            tag("meta", name=KEY_NAME, content=key),
            "\n",
            tag("title", title),
            "\n",
            Markup(f"<style>{_STYLE}</style>"),
        )
    )
    text = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{main}\n</body>\n</html>\n'
    return text.encode()


def key_of(content: bytes) -> str:
    """The key that a page was written with; empty if it has none."""
    text = content[:1024].decode("utf-8", "replace")
    _, found, rest = text.partition(f'<meta name="{KEY_NAME}" content="')
    return rest.partition('"')[0] if found else ""


def _side(value: object) -> str | None:
    if value is None or isinstance(value, int | float):
        return "n"
    text = str(value).lstrip("+-−")
    return "n" if text[:1].isdigit() and len(text) < 24 and not isinstance(value, Markup) else None
