"""The picture of a run: one page that needs nothing else, whatever the run said."""

from xml.etree.ElementTree import Element, fromstring

from breezeblock.testing.database import Database
from breezeblock.testing.history import Entry
from breezeblock.testing.page import page
from breezeblock.testing.run import simulate

OP = "bbbbbbbb-0000-4000-8000-000000000001"
NODES = ("cccccccc-0000-4000-8000-000000000001", "cccccccc-0000-4000-8000-000000000002")


def parsed(text: str) -> Element:
    """Every tag is closed and everything is escaped, or this raises."""
    return fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def having(root: Element, tag: str, kind: str) -> list[Element]:
    return [one for one in root.iter(tag) if set(kind.split()) <= set(one.get("class", "").split())]


def run_with_a_crash_and_a_fence(database: Database) -> list[Entry]:
    for seed in range(50):
        history = simulate(seed, database=database, only=["crash", "cut", "stop"], fence="kill").history
        states = {entry.data["after"] for entry in history if entry.kind == "node"}
        faults = {entry.data["fault"] for entry in history if entry.kind == "fault" and "target" in entry.data}
        ended = [entry for entry in history if entry.kind == "ended"]
        node_crashes = any(entry.text.startswith("crash node") for entry in history)
        if "fenced" in states and faults == {"crash", "cut", "stop"} and node_crashes and len(ended) > 5:
            return history
    raise AssertionError("no seed crashes, fences and finishes anything")


def test_the_page_of_a_run_with_a_crash_and_a_fence_shows_them(database: Database) -> None:
    """Lanes, operations from claim to end, the crash, the fence, cuts and stops; and the time line below."""
    history = run_with_a_crash_and_a_fence(database)

    root = parsed(page("Seed 1", history))

    labels = {one.text for one in root.iter("text")}
    assert {"everybody", "node0", "node1", "api0", "keeper", "worker"} <= labels
    owned = [entry for entry in history if entry.kind == "owned" and entry.data["owner"] is not None]
    assert len(having(root, "rect", "bar")) == len(owned)
    assert having(root, "circle", "mark fault crash")
    assert having(root, "circle", "mark fenced")
    assert having(root, "rect", "span cut")
    assert having(root, "rect", "span stop")
    cells = [cell.text or "" for cell in root.iter("td")]
    assert any(cell.startswith("crash node") for cell in cells)
    assert any(cell.endswith("-> fenced") for cell in cells)


def test_each_epoch_of_an_operation_is_a_bar_of_its_own() -> None:
    """On the lane of who owned it, in the colour of how it ended."""
    history = [
        Entry(0.0, f"node{number}.keeper1", "identity", f"is incarnation {node}", {"incarnation": node})
        for number, node in enumerate(NODES)
    ]
    for epoch, owner in ((1, NODES[0]), (2, None), (3, NODES[1])):
        data = {"operation": OP, "owner": owner, "epoch": epoch}
        history.append(Entry(float(epoch), None, "owned", f"operation {OP} is owned by {owner} in epoch {epoch}", data))
    history.append(Entry(5.0, None, "ended", "", {"operation": OP, "operation_kind": "x", "outcome": "failed"}))

    bars = having(parsed(page("", history)), "rect", "bar failed")

    assert [(bar.get("data-a"), bar.get("data-b")) for bar in bars] == [
        ("1.000000", "2.000000"),
        ("3.000000", "5.000000"),
    ]
    assert float(bars[0].get("y", "")) < float(bars[1].get("y", ""))


def test_what_a_run_said_never_becomes_markup() -> None:
    text = "<script>alert('&')</script> \x00\x1b \" ]]>"
    history = [
        Entry(0.0, "<b>node0.x", "fault", text, {"fault": "crash", "number": 1}),
        Entry(1.0, None, "note", text, {}),
    ]

    made = page("<i>", history)

    assert len(list(parsed(made).iter("script"))) == 1
    assert "<i>" not in made
    assert "<b>" not in made


def test_the_page_needs_nothing_from_elsewhere(database: Database) -> None:
    made = page("Seed 1", simulate(1, database=database).history)

    assert not [word for word in ("http", "src=", "href", "url(", "@import") if word in made]
