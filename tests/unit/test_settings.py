"""Where settings come from, what is refused, and what is shown of them."""

import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

import pytest

from breezeblock import options, settings
from breezeblock.drivers import file
from breezeblock.drivers.contract import FenceScope
from breezeblock.env.real import RealClock, RealIds
from breezeblock.settings import SettingsError, load
from breezeblock.testing.memory_files import MemoryFiles


def written(folder: Path, text: str) -> Path:
    file = folder / "breezeblock.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(file: Path | None = None, environ: dict[str, str] | None = None, **overrides: object) -> str:
    with pytest.raises(SettingsError) as refused:
        load(file, environ or {}, {key.replace("__", "."): value for key, value in overrides.items()})
    return str(refused.value)


def test_without_any_word_there_is_one_file_backend_on_sqlite() -> None:
    """Everything has a default, and those that depend on the data folder follow it."""
    loaded = load(None, {}, {"service.data_dir": "/srv/bb"})

    assert list(loaded.settings.backends) == ["file"]
    assert loaded.settings.backends["file"].path == Path("/srv/bb/volumes/file")
    assert loaded.settings.database.url == "sqlite:////srv/bb/breezeblock.db"
    assert loaded.sources["database.url"] == "default"


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    """Each value remembers which of them won."""
    file = written(tmp_path, "[api]\nport = 1\nworkers = 1\nmax_limit = 1\n")
    environ = {"BREEZEBLOCK_API__PORT": "2", "BREEZEBLOCK_API__WORKERS": "2"}

    loaded = load(file, environ, {"api.port": 3, "api.host": None})

    assert (loaded.settings.api.port, loaded.settings.api.workers, loaded.settings.api.max_limit) == (3, 2, 1)
    assert loaded.sources["api.port"] == "command line"
    assert loaded.sources["api.workers"] == "environment BREEZEBLOCK_API__WORKERS"
    assert loaded.sources["api.max_limit"] == f"file {file}"
    assert loaded.sources["api.host"] == "default"


def test_a_path_in_the_file_starts_at_the_file(tmp_path: Path) -> None:
    """Where the service was started from must not decide where the volumes are."""
    loaded = load(written(tmp_path, '[service]\ndata_dir = "state"\n'), {})

    assert loaded.settings.service.data_dir == tmp_path / "state"


def test_the_environment_reaches_a_backend_whatever_signs_its_name_has(tmp_path: Path) -> None:
    """Environment names have no dashes and no small letters; the file's backend is meant all the same."""
    file = written(tmp_path, '[backends.Fast-disk]\ncopy_rate_limit = "100 MiB"\n')

    loaded = load(file, {"BREEZEBLOCK_BACKENDS__FAST_DISK__CAPABILITIES": '{"tier": "gold"}'})

    assert list(loaded.settings.backends) == ["Fast-disk"]
    assert loaded.settings.backends["Fast-disk"].copy_rate_limit == 100 * 1024**2
    assert loaded.settings.backends["Fast-disk"].capabilities == {"tier": "gold"}


def test_an_empty_backend_table_is_a_backend(tmp_path: Path) -> None:
    """`[backends.one]` and nothing else asks for a backend with every default."""
    loaded = load(written(tmp_path, "[backends.one]\n[backends.two]\n"), {})

    assert list(loaded.settings.backends) == ["one", "two"]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Each with its key, its value, where it came from and what was expected."""
    file = written(tmp_path, '[api]\nport = 99999\nprot = 1\n[nodes]\ncount = "3"\n')

    told = refusal(file, {"BREEZEBLOCK_LOG__LEVEL": "loud"}, quota__volumes=-2).splitlines()

    assert told == [
        f"api.port = 99999 (file {file}): expected int <= 65535",
        f"api.prot = 1 (file {file}): unknown key; "
        "expected one of host, port, workers, max_limit, answer_timeout_s, drain_s, tls_certificate, tls_key, "
        "tls_key_password, tls_client_ca, trusted_proxies, proxy_headers",
        f'nodes.count = "3" (file {file}): expected int',
        'log.level = "loud" (environment BREEZEBLOCK_LOG__LEVEL): expected one of debug, info, warning, error',
        "quota.volumes = -2 (command line): expected int >= -1",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port = 1\n", "unknown section"),
        ("[apis]\n", "unknown section"),
        ("service = 1\n", "expected SECTION.KEY"),
        ("[backends]\nfile = 1\n", "expected backends.NAME.KEY"),
        ('[backends."a@b"]\n', "the name of a section in backends is"),
        ("[nodes]\nttl_s = 0.2\n", "expected float >= 0.3"),
        ("[nodes]\nttl_s = nan\n", "expected float >= 0.3"),
        ("[nodes]\npoll_s = inf\n", "expected float <="),
        ('[backends.a]\ncopy_rate_limit = "fast"\n', "expected bytes per second"),
        ("[nodes]\nttl_s = 10.0\npark_after_s = 10.0\n", "the silence after which a node counts as lost"),
        ("[nodes]\npoll_s = 700\n", "expected less than nodes.park_after_s"),
        ('[nodes]\nname = "api"\n', "are the API's processes"),
        ("[nodes]\ncount = 0\n[api]\nworkers = 0\n", "there would be nothing to run"),
        ('[backends.a]\npath = "/x"\n[backends.b]\npath = "/x"\n', "backend a has this path already"),
        ('[database]\nurl = "sqlite://"\n', "a memory of its own"),
        ('[database]\nurl = "sqlite:///:memory:"\n', "a memory of its own"),
        ('[database]\nurl = "bb.db"\n', "expected a URL"),
        ("[api\n", "expected a readable TOML file"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """A wrong file never starts a service that does something else than its author thinks."""
    assert expected in refusal(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """Someone named a file; going on without it would run on defaults."""
    assert "expected a readable TOML file" in refusal(tmp_path / "absent.toml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "storage.example.org"])
def test_without_authentication_only_this_machine_may_call(host: str) -> None:
    """The refusal gives its reason and a way out."""
    told = refusal(api__host=host)

    assert "believes every caller" in told
    assert "let a proxy" in told


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost"])
def test_each_loopback_address_is_accepted(host: str) -> None:
    """All of 127.0.0.0/8 is this machine."""
    assert load(None, {}, {"api.host": host}).settings.api.host == host


def test_an_option_written_with_one_underscore_is_not_lost() -> None:
    """Ignored, it would leave the default in force without a word."""
    assert "did you mean BREEZEBLOCK_API__PORT?" in refusal(environ={"BREEZEBLOCK_API_PORT": "1"})


def test_other_names_in_the_environment_are_left_alone() -> None:
    """The seed of a test run is not an option."""
    assert load(None, {"BREEZEBLOCK_SEED": "7", "HOME": "/"}).settings == load(None, {}).settings


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1024", 1024), ("100 MiB", 104857600), ("1.5GB", 1500000000), ("2 KiB/s", 2048), ("1 tib", 1024**4)],
)
def test_a_rate_is_written_in_the_usual_units(text: str, count: int) -> None:
    """With and without a space, binary and decimal."""
    assert load(None, {}, {"backends.a.copy_rate_limit": text}).settings.backends["a"].copy_rate_limit == count


def test_a_child_process_gets_the_same_settings() -> None:
    """Nothing is lost on the way through JSON, paths and passwords included."""
    given = load(
        None, {}, {"database.url": "sqlite:////tmp/d.db?password=p", "backends.a.capabilities": {"k": "v"}}
    ).settings

    assert settings.from_json(settings.to_json(given)) == given


def test_the_effective_settings_are_toml_that_means_the_same(tmp_path: Path) -> None:
    """What `config show` prints can be kept as the file."""
    loaded = load(None, {}, {"service.data_dir": tmp_path, "backends.a.capabilities": {"naïve key": 'a "b" \\ c'}})

    again = load(written(tmp_path, settings.render_effective(loaded)), {})

    assert again.settings == loaded.settings


def test_what_is_shown_has_no_password() -> None:
    """Neither that of the database nor one among the capabilities."""
    shown = settings.render_effective(
        load(
            None,
            {},
            {
                "database.url": "sqlite:////d.db?key_password=hush&cache=private",
                "backends.a.capabilities": {"api_token": "hush", "tier": "gold"},
            },
        )
    )

    assert tomllib.loads(shown)["database"]["url"] == "sqlite:////d.db?key_password=***&cache=private"
    assert tomllib.loads(shown)["backends"]["a"]["capabilities"] == {"api_token": "***", "tier": "gold"}


def test_a_url_is_shown_without_its_password() -> None:
    """Whatever characters the password has, and wherever the URL keeps it."""
    masked = settings.mask_url_secrets("mysql://u:se/cr@et@h/d?ssl_password=hush&charset=utf8mb4")

    assert masked == "mysql://u:***@h/d?ssl_password=***&charset=utf8mb4"


def test_a_database_that_this_release_cannot_use_is_refused() -> None:
    """Better at the start than at the first request."""
    told = refusal(database__url="oracle://h/d")

    assert "expected sqlite:///PATH, postgresql://… or mariadb://…" in told


def test_a_driver_that_there_is_not_is_refused() -> None:
    """A slip in the driver's name does not silently become another driver."""
    told = refusal(backends__a__driver="flie")

    assert "expected file" in told


def test_a_refusal_shows_no_password() -> None:
    """A refusal is copied into tickets."""
    told = refusal(database__url="sqlite://u:hush@/:memory:", database__password="hush")

    assert "hush" not in told


def test_settings_load_without_the_database_library() -> None:
    """Each command reads them first, also those that never open a database."""
    code = "import sys, breezeblock.settings; sys.exit('sqlalchemy' in sys.modules or 'structlog' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- fences -----------------------------------------------------------------------------------------------------------

AGENT = '[fences.ipmi]\ncommand = "/usr/sbin/fence_ipmilan"\n'


def test_on_one_machine_a_backend_is_fenced_without_a_word() -> None:
    """Everything that applies, in order; no agent is named, and a file system refuses nobody."""
    backend = load(None, {}).settings.backends["file"]

    assert (backend.fence, backend.trust_self_fencing, backend.settle_s) == (["same_machine", "boot"], False, 60.0)


def test_a_backend_takes_the_agent_of_the_nodes_unless_it_names_another(tmp_path: Path) -> None:
    """With an agent the external fence applies by itself."""
    two = '[fences.pdu]\ncommand = ["/usr/bin/python3", "/opt/pdu.py"]\n[nodes]\nfence_agent = "ipmi"\n'
    backends = '[backends.a]\n[backends.b]\nfence_agent = "pdu"\n'

    chosen = load(written(tmp_path, AGENT + two + backends), {}).settings

    assert [chosen.backends[name].fence_agent for name in "ab"] == ["ipmi", "pdu"]
    assert chosen.backends["a"].fence == ["same_machine", "boot", "external"]
    assert chosen.fences["ipmi"].command == ["/usr/sbin/fence_ipmilan"]
    assert (chosen.fences["pdu"].command, chosen.fences["pdu"].scope) == (["/usr/bin/python3", "/opt/pdu.py"], "node")


def test_an_agents_section_has_tables_for_its_nodes_and_files_beside_it(tmp_path: Path) -> None:
    """Paths start at the file; values keep their types until they are told."""
    more = 'options = { lanplus = true, username = "admin" }\noption_files = { password = "ipmi.pw" }\n'
    nodes = "timeout_s = 5\n[fences.ipmi.nodes.node-1]\nplug = 3\n"

    agent = load(written(tmp_path, AGENT + more + nodes), {}).settings.fences["ipmi"]

    assert agent.options == {"lanplus": True, "username": "admin"}
    assert agent.option_files == {"password": tmp_path / "ipmi.pw"}
    assert (agent.nodes, agent.timeout_s) == ({"node-1": {"plug": 3}}, 5.0)
    assert settings.from_json(settings.to_json(load(written(tmp_path, AGENT + more + nodes), {}).settings)).fences


@pytest.mark.parametrize("text", ['[backends.a]\nfence = ["external"]\nfence_agent = "ipmi"\n', "[backends.a]\n"])
def test_one_certain_fence_is_enough(tmp_path: Path, text: str) -> None:
    """Killing may be off where an agent is there, also on one machine."""
    assert "a" in load(written(tmp_path, AGENT + text), {}).settings.backends


@pytest.mark.parametrize("methods", ["[]", '["boot"]'])
def test_a_backend_without_any_certain_fence_is_refused_unless_leases_are_trusted(tmp_path: Path, methods: str) -> None:
    """A machine that never boots again proves nothing either. The refusal says what can be done."""
    text = f"[backends.a]\nfence = {methods}\n"

    told = refusal(written(tmp_path, text))

    assert "nothing proves that a lost node has stopped" in told
    assert "same_machine, external" in told
    assert "trust_self_fencing = true in [backends.a]" in told
    assert load(written(tmp_path, text + "trust_self_fencing = true\n"), {}).settings.backends["a"].fence is not None


def test_where_nodes_may_be_on_several_machines_a_kill_proves_nothing(tmp_path: Path) -> None:
    """What is left by default for a database that more than one machine uses is not enough."""
    elsewhere = '[database]\nurl = "postgresql://db/bb"\n'

    by_default = refusal(written(tmp_path, elsewhere + "[backends.a]\n"))
    by_word = refusal(written(tmp_path, elsewhere + '[backends.a]\nfence = ["same_machine"]\n'))
    trusted = load(written(tmp_path, elsewhere + "[backends.a]\ntrust_self_fencing = true\n"), {})
    by_agent = load(written(tmp_path, elsewhere + AGENT + '[backends.a]\nfence_agent = "ipmi"\n'), {})

    assert "add external, storage, or trust_self_fencing" in by_default
    assert "same_machine is a fence only where all nodes are on one machine" in by_word
    assert trusted.settings.backends["a"].fence == ["boot"]
    assert by_agent.settings.backends["a"].fence == ["boot", "external"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[backends.a]\nfence = ["kill"]\n', "backends.a.fence"),
        ('[backends.a]\nfence = ["boot", "boot", "same_machine"]\n', "expected each method once"),
        ('[backends.a]\nfence = ["storage", "same_machine"]\n', "the driver file cannot make its storage refuse"),
        ('[backends.a]\nfence = ["external"]\n', "external needs a fence_agent"),
        ('[backends.a]\nfence_agent = "none"\n', "there is no [fences.NAME] section of that name"),
        ('[nodes]\nfence_agent = "none"\n' + AGENT, "expected one of ipmi"),
        ("[backends.a]\nsettle_s = 59.9\n", "expected at least 60, which its driver needs"),
        ("[fences.ipmi]\ntimeout_s = 3\n", "expected the fence agent's program"),
        ('[fences.ipmi]\ncommand = "fence_ipmilan"\n', "expected the program's whole path"),
        ("[fences.ipmi]\ncommand = []\n", "expected array of length >= 1"),
        (AGENT + 'scope = "machine"\n', "to cut off the one machine would end all nodes"),
        (AGENT + 'options = { passwd = "secret" }\n', "option_files = { passwd"),
        (AGENT + 'nodes = { n = { password = "secret" } }\n', "option_files = { password"),
        (AGENT + 'options = { plug = "1\\naction=on" }\n', "fences.ipmi.options"),
        (AGENT + 'options = { "a=b" = "1" }\n', "fences.ipmi.options"),
        (AGENT + 'option_files = { password = "" }\n', "expected a table of paths"),
    ],
)
def test_a_fence_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """At the start, not when the first node is lost."""
    assert expected in refusal(written(tmp_path, text))


# --- locks of drivers -------------------------------------------------------------------------------------------------


def test_locks_are_kept_where_the_nodes_are(tmp_path: Path) -> None:
    """On one machine its own files do; each backend has a scope of its own until told otherwise."""
    backends = load(written(tmp_path, "[backends.a]\n[backends.b]\n"), {}).settings.backends

    assert [(one.locks, one.locks_url, one.locks_scope) for one in backends.values()] == [
        ("local", "", "a"),
        ("local", "", "b"),
    ]


def test_backends_may_share_a_scope(tmp_path: Path) -> None:
    """When they agree on who keeps it."""
    tooz = 'locks = "tooz"\nlocks_url = "redis://h"\nlocks_scope = "array"\n'

    backends = load(written(tmp_path, f"[backends.a]\n{tooz}[backends.b]\n{tooz}"), {}).settings.backends

    assert {one.locks_scope for one in backends.values()} == {"array"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[backends.a]\nlocks = "file"\n', "expected one of local, database, tooz"),
        ('[backends.a]\nlocks_url = "redis://h"\n', "only tooz has a URL; expected none with locks = local"),
        ('[backends.a]\nlocks = "tooz"\n', "tooz needs a URL such as redis://host:6379?lock_timeout=30"),
        ('[backends.a]\nlocks = "tooz"\nlocks_url = "redis"\n', "tooz needs a URL"),
        ('[backends.a]\nlocks_scope = "a b"\n', "backends.a.locks_scope"),
        (
            '[backends.a]\nlocks = "database"\n[backends.b]\nlocks_scope = "a"\n',
            "backend a has this scope, so expected its locks and locks_url, or another scope",
        ),
    ],
)
def test_locks_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    """At the start, not when the first driver asks for one."""
    assert expected in refusal(written(tmp_path, text))


def test_a_refused_url_shows_no_password(tmp_path: Path) -> None:
    """It may be in the log of whoever starts the service."""
    text = '[backends.a]\nlocks_url = "redis://:hunter2@h"\n'

    assert "hunter2" not in refusal(written(tmp_path, text))


def test_a_refused_secret_is_not_shown(tmp_path: Path) -> None:
    """The refusal names the option, not its value."""
    assert "hunter2" not in refusal(written(tmp_path, AGENT + 'options = { passwd = "hunter2" }\n'))


def test_the_environment_may_name_lists(tmp_path: Path) -> None:
    """As JSON, or one word."""
    environ = {"BREEZEBLOCK_BACKENDS__FILE__FENCE": "external", "BREEZEBLOCK_FENCES__X__COMMAND": '["/a", "b"]'}
    environ |= {"BREEZEBLOCK_NODES__FENCE_AGENT": "x"}

    chosen = load(None, environ).settings

    assert (chosen.backends["file"].fence, chosen.fences["x"].command) == (["external"], ["/a", "b"])


def test_what_is_known_of_drivers_before_they_are_loaded_is_what_they_say() -> None:
    """Two spellings of one fact."""
    files, path = MemoryFiles(capacity_bytes=1).view(), PurePosixPath("/a")
    said = file.FileDriver(files, name="a", path=path, clock=RealClock(), ids=RealIds())

    facts = options.DRIVERS["file"]

    assert facts.storage_fence is (said.capabilities.fence is FenceScope.STORAGE)
    assert facts.settle_s == file.SHARED_SETTLE_S


def test_the_driver_of_chaos_runs_may_fence_by_its_storage_and_is_offered_to_nobody() -> None:
    """Where another driver may not."""
    environ = {"BREEZEBLOCK_BACKENDS__FILE__FENCE": '["storage"]'}

    chosen = load(None, environ | {"BREEZEBLOCK_BACKENDS__FILE__DRIVER": "fenced_file"}).settings

    assert chosen.backends["file"].fence == ["storage"]
    with pytest.raises(SettingsError, match="cannot make its storage refuse"):
        load(None, environ)
    with pytest.raises(SettingsError, match="expected file, the one driver"):
        load(None, environ | {"BREEZEBLOCK_BACKENDS__FILE__DRIVER": "fenced"})
