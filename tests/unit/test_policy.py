"""Policies: what a file may say, what is remembered, and that checks mean what oslo.policy says they mean."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_policy import policy as oslo
from structlog.testing import capture_logs
from tests.store.given import in_virtual_time, virtual_env

from breezeblock.api.auth import IMPLIED, Caller
from breezeblock.api.policy import BASE, RULES, Policy, PolicyError, Target, load, persona_of, read_book
from breezeblock.api.policy.registered import get_enforcer, list_rules, sample
from breezeblock.api.policy.rights import LOOK_S, REMEMBERED_MOST
from breezeblock.model.ids import ProjectId, UserId
from breezeblock.testing.virtual import VirtualClock, VirtualEnv

T = TypeVar("T")

RULE: Final = "volume:delete"


def caller(
    *roles: str, user: str = "u1", project: str = "p1", service: bool = False, admin_project: bool = True
) -> Caller:
    who = Caller(UserId(user), ProjectId(project), frozenset(roles))
    return who._replace(is_service=service, is_admin_project=admin_project)


def written(folder: Path, text: str) -> Path:
    file = folder / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def policy_of(folder: Path, text: str) -> Policy:
    return Policy(env=virtual_env(), file=written(folder, text))


# --- callers and rights ------------------------------------------------------------------------------------------------


def test_all_who_may_do_the_same_have_the_same_rights() -> None:
    """Answers are prepared by them. Cinder's defaults know no manager, so one is a member."""
    policy = Policy()
    member = policy.rights(Caller(UserId("a"), ProjectId("x"), IMPLIED["member"]))

    assert policy.rights(caller("MEMBER", "Reader", "swiftoperator")) is member
    assert policy.rights(Caller(UserId("b"), ProjectId("y"), IMPLIED["manager"])) is member
    assert policy.rights(Caller(UserId("b"), ProjectId("y"), IMPLIED["reader"])) is not member


def test_who_is_in_a_project_of_administrators_is_told_from_who_is_not(tmp_path: Path) -> None:
    """The rights of the one are not remembered for the other; both are administrators by Cinder's defaults."""
    policy = policy_of(tmp_path, f'{RULE}: "role:admin and is_admin_project:True"')
    there, elsewhere = caller("admin"), caller("admin", admin_project=False)
    target = Target("p1", "u1")

    assert [policy.rights(one).may(RULE) for one in (there, elsewhere, there)] == [True, False, True]
    assert [policy.rights(one).judge(RULE, one, target) for one in (there, elsewhere)] == [True, False]
    assert policy.rights(elsewhere).is_admin and policy.rights(elsewhere).may("volume:get")


@pytest.mark.parametrize(
    ("roles", "reads", "changes", "administers"),
    [
        (IMPLIED["reader"], True, False, False),
        (IMPLIED["member"], True, True, False),
        (IMPLIED["manager"], True, True, False),
        (IMPLIED["admin"], True, True, True),
        (frozenset[str](), False, False, False),
        (frozenset({"_member_"}), False, False, False),
    ],
)
def test_a_role_is_needed_for_anything_but_discovery(
    roles: frozenset[str], reads: bool, changes: bool, administers: bool
) -> None:
    rights = Policy().rights(Caller(UserId("u"), ProjectId("p"), roles))

    assert (rights.may("volume:get"), rights.may("volume:create")) == (reads, changes)
    assert (rights.may("volume:force_delete"), rights.is_admin) == (administers, administers)
    assert rights.may("discovery") and not rights.asks_for_owners


def test_a_user_whom_a_policy_names_has_rights_of_their_own(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, f'{RULE}: "user_id:u1 or project_id:p7"')

    assert policy.rights(caller(user="u1")).may(RULE)
    assert policy.rights(caller(user="u2", project="p7")).may(RULE)
    assert not policy.rights(caller(user="u2")).may(RULE)
    assert policy.rights(caller(user="u2")) is policy.rights(caller(user="u3", project="p8"))


def test_a_service_is_told_from_a_user(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, f'{RULE}: "service_roles:service and role:member"')

    assert policy.rights(caller("member", service=True)).may(RULE)
    assert not policy.rights(caller("member")).may(RULE)


def test_who_is_an_administrator_is_for_the_file_to_say(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, 'context_is_admin: "role:operator"')

    assert policy.rights(caller("operator")).is_admin
    assert policy.rights(caller("operator")).may("volume:force_delete")  # is_admin:True, in admin_api
    assert not policy.rights(caller("admin")).is_admin


def test_what_is_remembered_is_bounded() -> None:
    policy = Policy()
    for number in range(REMEMBERED_MOST + 10):
        policy.rights(caller("member", f"role-{number}"))

    assert len(policy._remembered) <= REMEMBERED_MOST


# --- targets ----------------------------------------------------------------------------------------------------------


def test_a_rule_about_a_resources_user_is_true_for_that_user_only(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, f'{RULE}: "rule:admin_api or user_id:%(user_id)s"')
    rights, me = policy.rights(caller("member")), caller("member")

    assert rights.asks_for_owners and not rights.may(RULE)
    assert rights.allows(RULE, me, Target("p1", "u1")) and not rights.allows(RULE, me, Target("p1", "u2"))
    assert not policy.rights(caller("admin")).asks_for_owners


def test_an_administrator_of_a_project_is_asked_whose_the_resource_is(tmp_path: Path) -> None:
    """Such a one sees all projects' rows, so that the caller's own project would be the wrong thing to compare with."""
    policy = policy_of(tmp_path, f'{RULE}: "role:admin and project_id:%(project_id)s"')
    rights, me = policy.rights(caller("admin")), caller("admin")

    assert rights.asks_for_owners
    assert rights.allows(RULE, me, Target("p1", "x")) and not rights.allows(RULE, me, Target("p2", "u1"))
    assert policy.rights(caller("member")).asks_for_owners is False


def test_what_is_shown_in_lists_is_never_decided_by_one_owner(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, 'volume_extension:volume_host_attribute: "role:admin and project_id:%(project_id)s"')

    assert not policy.rights(caller("admin")).may("volume_extension:volume_host_attribute")


# --- files ------------------------------------------------------------------------------------------------------------

MISTAKES: Final = [
    ('volume:get: "role:x and"', "cannot be read"),
    ('volume:get: "role:a role:b"', "cannot be read"),
    ('volume:get: "! role:a"', "cannot be read"),
    ('volume:get: "member"', "cannot be read"),
    ("volume:get: !", "both texts"),
    ("volume:get:", "both texts"),
    ("volume:get: [[role:a]]", "both texts"),
    ("1: role:a", "both texts"),
    ("a: b: c", "not YAML"),
    ("? [a]\n: b", "not YAML"),
    ("[" * 1200, "nested too deep"),
    ('volume:get: "' + "not " * 3000 + 'role:a"', "nested too deep"),
    ("\n".join(f'r{n}: "rule:r{n + 1}"' for n in range(3000)), "nested too deep"),
    ("- volume:get", "a mapping"),
    ('volume:get: "role:a"\nvolume:get: "@"', "line 2: volume:get is there twice"),
    ('volume:get: "rule:nope"', "rule:nope refers to a rule that there is not"),
    ('a: "rule:b"\nb: "not rule:a"\nvolume:get: "rule:a"', "refers to itself"),
    ('volume:get: "http://elsewhere/check"', "another server"),
    ('volume:get: "https://elsewhere/check"', "another server"),
    ('volume:get: "host:%(host)s"', "%(host)s is no attribute of a resource"),
    ('volume:get: "tenant:%(tenant_id)s"', "%(tenant_id)s is no attribute of a resource"),
    ('volume:get: "user_domain_id:abc"', "user_domain_id is no attribute of a caller"),
    ('volume:get: "user_id:%(project_id)s"', "compares different things"),
    ('volume:get: "role:%(user_id)s"', "a role from a resource"),
    ('volume:get: "user_id:x%(user_id)s"', "more than the attribute"),
    ('volume:get: "role:100%"', "means nothing"),
    ('volume:get_all: "user_id:%(user_id)s"', "not about one resource of which a user is known"),
    ('mine: "user_id:%(user_id)s"\nmessage:get: "rule:mine"', "message:get: it is not about one resource"),
    ('context_is_admin: "is_admin:True"', "cannot ask for it"),
    ('context_is_admin: "rule:admin_api"', "cannot ask for it"),
    ('context_is_admin: "project_id:%(project_id)s"', "about the caller alone"),
]


@pytest.mark.parametrize(("text", "why"), MISTAKES)
def test_a_file_with_a_mistake_is_refused_and_says_which(tmp_path: Path, text: str, why: str) -> None:
    """Nothing is guessed, and nothing is read as "anybody"."""
    with pytest.raises(PolicyError) as refused:
        load(written(tmp_path, text))

    assert why in str(refused.value)
    assert str(tmp_path / "policy.yaml") in str(refused.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as refused:
        policy_of(tmp_path, 'volume:get: "rule:nope"\nvolume:create: "host:%(host)s"\nvolume:delete: "and"')

    assert len(refused.value.mistakes) == 3


def test_a_file_that_is_not_there_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('volume:gett: "!"', "volume:gett: there is no such rule"),
        ('volume:update_volume_admin_metadata: "!"', "nothing here asks it"),
        ('volume_extension:types_manage: "role:x"', "it is now volume_extension:type_create"),
    ],
)
def test_what_is_odd_is_told_and_taken(text: str, why: str) -> None:
    (warning,) = read_book(text).warnings

    assert why in warning


def test_an_old_name_holds_for_the_new_ones_that_are_not_named() -> None:
    book = read_book('volume_extension:types_manage: "role:old"\nvolume_extension:type_delete: "role:new"')

    assert book.entries["volume_extension:type_create"].text == "role:old"
    assert book.entries["volume_extension:type_delete"].text == "role:new"


def test_a_file_that_repeats_every_default_changes_nothing(tmp_path: Path) -> None:
    """What `breezeblock policy sample` prints, with the comments taken away."""
    text = "\n".join(line[2:] for line in sample(read_book("")).splitlines() if line.startswith('# "'))
    book = read_book(text)

    assert len(book.entries) == sum(entry.from_file for entry in book.entries.values()) == len(RULES) + len(BASE)
    assert book.warnings == ()
    for rule in RULES:
        assert persona_of(book, rule) == persona_of(read_book(""), rule)


# --- a file that changes ----------------------------------------------------------------------------------------------


def test_a_changed_file_holds_within_a_second(tmp_path: Path) -> None:
    async def scenario() -> list[bool]:
        env = virtual_env()
        file = written(tmp_path, f'{RULE}: "role:old"')
        policy, seen = Policy(env=env, file=file), []
        for text in (None, f'{RULE}: "role:new"', None):
            await policy.refresh()
            seen.append(policy.rights(caller("old")).may(RULE))
            if text is not None:
                written(tmp_path, text)
            await env.clock.sleep(LOOK_S / 2)
        await env.clock.sleep(LOOK_S)
        await policy.refresh()
        return [*seen, policy.rights(caller("old")).may(RULE), policy.rights(caller("new")).may(RULE)]

    assert in_virtual_time(scenario()) == [True, True, False, False, True]


@pytest.mark.parametrize("text", ["", "\n \n", "a: 2001-99-99"])
def test_an_empty_file_lifts_no_restriction(tmp_path: Path, text: str) -> None:
    """As it is for an instant while it is saved, and for long on a full disk. Nor does a text that the parser fails at."""

    async def scenario() -> bool:
        env = virtual_env()
        policy = Policy(env=env, file=written(tmp_path, f'{RULE}: "!"'))
        written(tmp_path, text)
        await env.clock.sleep(2 * LOOK_S)
        await policy.refresh()
        return policy.rights(caller("reader")).may(RULE)

    with capture_logs() as logged:
        assert in_virtual_time(scenario()) is False
    assert [line["event"] for line in logged] == ["policy.refused"]


class SlowThreads:
    """Implements `Threads`: what is read is what was there when it began, and the first reading takes longest."""

    def __init__(self, *takes_s: float) -> None:
        self.takes_s = list(takes_s)

    async def run(self, f: Callable[[], T]) -> T:
        done = f()
        await VirtualClock().sleep(self.takes_s.pop(0))
        return done


def test_a_file_is_looked_at_by_one_request_at_a_time(tmp_path: Path) -> None:
    """Two that overlap, on a slow filesystem, could have the older text taken last; nobody waits for either."""

    async def scenario() -> list[bool]:
        quick = virtual_env()
        assert isinstance(quick, VirtualEnv)
        env = replace(quick, threads=SlowThreads(5.0, 0.1))
        policy = Policy(env=env, file=written(tmp_path, f'{RULE}: "role:first"'))
        written(tmp_path, f'{RULE}: "role:second"')
        await env.clock.sleep(LOOK_S)
        looking = asyncio.ensure_future(policy.refresh())
        await env.clock.sleep(2 * LOOK_S)
        written(tmp_path, f'{RULE}: "role:third"')
        began = env.clock.boottime()
        await policy.refresh()
        assert env.clock.boottime() == began
        await looking
        seen = [policy.rights(caller("second")).may(RULE)]
        await env.clock.sleep(2 * LOOK_S)
        await policy.refresh()
        return [*seen, policy.rights(caller("third")).may(RULE)]

    assert in_virtual_time(scenario()) == [True, True]


def test_a_file_of_comments_is_the_defaults(tmp_path: Path) -> None:
    """It is what `breezeblock policy sample` writes."""
    assert load(written(tmp_path, "# nothing yet\n"))[1].warnings == ()


def test_a_broken_file_is_told_once_and_the_last_good_one_stays(tmp_path: Path) -> None:
    async def scenario() -> list[bool]:
        env = virtual_env()
        policy, seen = Policy(env=env, file=written(tmp_path, f'{RULE}: "role:good"')), []
        for text in ("and", "and", None, f'{RULE}: "role:better"'):
            if text is None:
                (tmp_path / "policy.yaml").unlink()
            else:
                written(tmp_path, text if ":" in text else f'{RULE}: "{text}"')
            await env.clock.sleep(2 * LOOK_S)
            await policy.refresh()
            seen.append(policy.rights(caller("good")).may(RULE))
        return seen

    with capture_logs() as logged:
        assert in_virtual_time(scenario()) == [True, True, True, False]

    assert [line["event"] for line in logged] == ["policy.refused", "policy.refused", "policy.reloaded"]
    assert "cannot be read" in logged[0]["mistakes"][0]


# --- as oslo.policy has it --------------------------------------------------------------------------------------------

LEAVES: Final = st.sampled_from(
    (
        "@", "!", "role:admin", "role:Member", "role:other", "rule:admin_api", "rule:admin_or_owner", "is_admin:True",
        "is_admin:False", "is_admin_project:True", "is_admin_project:False", "system_scope:all", "user_id:u1", "user_id:u2",
        "project_id:p1", "project_id:p2", "user_id:%(user_id)s", "project_id:%(project_id)s", "'u1':%(user_id)s",
        "'p2':%(project_id)s", "'a':a", "True:False", "domain_id:%(domain_id)s", "service_roles:service",
    )
)  # fmt: skip
CHECKS: Final = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} and {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} or {two[1]})"),
        inner.map(lambda one: f"(not {one})"),
    ),
    max_leaves=6,
)
ROLES: Final = st.frozensets(st.sampled_from(("admin", "ADMIN", "member", "reader", "other")))
IDS: Final = st.sampled_from(("1", "2", "3"))


@settings(max_examples=60, deadline=None)
@given(CHECKS, ROLES, st.tuples(IDS, IDS, IDS, IDS), st.booleans(), st.booleans())
def test_a_check_means_what_oslo_policy_says(
    check: str, roles: frozenset[str], ids: tuple[str, str, str, str], service: bool, admin_project: bool
) -> None:
    """Judged with everything known; and what is decided without a target holds for every target."""
    user, project, target_user, target_project = ids
    me = caller(*roles, user=f"u{user}", project=f"p{project}", service=service, admin_project=admin_project)
    book = read_book(f"{RULE}: {check!r}" if "'" not in check else f'{RULE}: "{check}"')
    policy = Policy()
    policy._take(book)
    rights = policy.rights(me)
    # Others than administrators ask for what is their project's only.
    target = Target(f"p{target_project}" if rights.is_admin else me.project_id, f"u{target_user}")

    meant = enforced(check, me, target, is_admin=rights.is_admin)

    assert rights.judge(RULE, me, target) is meant
    assert rights.allows(RULE, me, target) is meant


def enforced(check: str, me: Caller, target: Target, *, is_admin: bool) -> bool:
    """What oslo.policy itself makes of it."""
    enforcer = oslo.Enforcer(cfg.ConfigOpts(), use_conf=False)
    rules: dict[str, Any] = {**BASE, RULE: check}
    enforcer.set_rules(oslo.Rules.from_dict(rules), overwrite=True, use_conf=False)
    credentials = {
        "roles": list(me.roles),
        "user_id": me.user_id,
        "project_id": me.project_id,
        "is_admin": is_admin,
        "is_admin_project": me.is_admin_project,
        "system_scope": None,
        "domain_id": None,
        "service_roles": ["service"] if me.is_service else [],
    }
    return bool(enforcer.enforce(RULE, {"project_id": target.project_id, "user_id": target.user_id}, credentials))


# --- for oslo.policy's own commands -----------------------------------------------------------------------------------


def test_the_rules_are_there_for_oslo_policys_commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = written(tmp_path, f'{RULE}: "role:x"')
    conf = tmp_path / "breezeblock.conf"
    conf.write_text(f"[oslo_policy]\npolicy_file = {file}\n", encoding="utf-8")
    called = [
        "oslopolicy-policy-generator",
        "--namespace",
        "breezeblock",
        "--config-file",
        str(conf),
        "--output-file=x",
    ]
    monkeypatch.setattr("sys.argv", called)
    enforcer = get_enforcer()
    enforcer.load_rules()

    assert {rule.name for rule in list_rules()} == RULES.keys() | BASE.keys() == enforcer.rules.keys()
    assert str(enforcer.rules[RULE]) == "role:x"
