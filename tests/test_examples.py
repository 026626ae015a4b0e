"""The recipes for several machines hand their words on as they were typed, and name options that there are."""

import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import cli

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
URL = 'postgresql+psycopg://me:it\'s a "secret"@db/studies'
# In Python's place: says what it was given, and works until it is told to end.
RECORDER = """#!/bin/sh
printf '%s\\n' "$OPTUNA_STORAGE" "$@"
trap 'echo ended; exit' TERM
while [ -z "$AT_ONCE" ]; do sleep 0.05; done
"""
# In the place of ssh: every host is this one.
LOCAL_SHELL = """#!/bin/sh
[ "$1" != away ] || exit 255
shift
exec sh -c "$*"
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the recipes are shell scripts")


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    return program(tmp_path / "a recorder", RECORDER)


def program(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def parsed(words: list[str]) -> dict[str, Any]:
    """What the command line makes of a recipe's words."""
    assert words[0] == "cli.py"
    return dict(cli.commands[words[1]].make_context(words[1], words[2:]).params)


def submit(recorder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the batch script as Slurm does."""
    known = {"PYTHON": str(recorder), "AT_ONCE": "1", "SLURM_SUBMIT_DIR": str(recorder.parent)}
    environment = {**os.environ, **known, "OPTUNA_STORAGE": URL, "SLURM_CPUS_PER_TASK": "3", **variables}
    command = ["bash", str(EXAMPLES / "job.sbatch"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def test_a_task_of_a_slurm_array_does_what_was_submitted_with_its_cores(recorder: Path) -> None:
    words = ["verify-best", "--study-name", "my study"]
    ended = submit(recorder, *words, SLURM_ARRAY_TASK_ID="2")
    assert ended.returncode == 0, ended.stderr
    task, url, *given = ended.stdout.splitlines()
    assert task.startswith("Task 2 on ")
    assert url == URL
    assert given == ["cli.py", *words, "--workers", "3"]
    assert parsed(given)["workers"] == 3


def test_a_slurm_job_without_words_searches(recorder: Path) -> None:
    options = parsed(submit(recorder).stdout.splitlines()[2:])
    assert options["trials"] == 50
    assert options["dataset"] == "mnist"


def test_a_slurm_job_without_a_database_is_refused(recorder: Path) -> None:
    ended = submit(recorder, OPTUNA_STORAGE="")
    assert ended.returncode != 0
    assert "OPTUNA_STORAGE: is the database that all tasks share" in ended.stderr


def hosts(recorder: Path, *words: str, names: str = "a b") -> subprocess.CompletedProcess[str]:
    ssh = program(recorder.with_name("ssh"), LOCAL_SHELL)
    environment = {
        **os.environ,
        "HOSTS": names,
        "FOLDER": str(recorder.parent),
        "PYTHON": str(recorder),
        "OPTUNA_STORAGE": URL,
        "SSH": shlex.quote(str(ssh)),
    }
    command = [str(EXAMPLES / "hosts.sh"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def logs(folder: Path, num_lines: int) -> list[list[str]]:
    """What the hosts' commands have printed; waits until it is so much."""
    for _ in range(200):
        found = [(folder / f"hosts-{name}.log").read_text(encoding="utf-8").splitlines() for name in "ab"]
        if all(len(lines) >= num_lines for lines in found):
            return found
        time.sleep(0.05)
    pytest.fail(f"{found}")


def test_every_host_is_told_the_command_and_the_database_and_when_to_end(recorder: Path) -> None:
    words = ["search", "--trials", "7", "--study-name", 'it\'s "mine" $HOME']
    started = hosts(recorder, "start", *words)
    try:
        assert started.returncode == 0, started.stderr
        assert logs(recorder.parent, 2 + len(words)) == [[URL, "cli.py", *words]] * 2
        assert parsed(["cli.py", *words])["trials"] == 7
        assert hosts(recorder, "log").stdout.splitlines().count('it\'s "mine" $HOME') == 2
        again = hosts(recorder, "start", *words)
        assert (again.returncode, again.stderr.count("It runs already: stop it first.")) == (1, 2)
    finally:
        stopped = hosts(recorder, "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert [lines[-1] for lines in logs(recorder.parent, 3 + len(words))] == ["ended"] * 2
    time.sleep(0.5)  # until they have gone
    assert hosts(recorder, "stop").stderr.count("It does not run.") == 2


def test_the_database_is_in_no_words_that_a_list_of_processes_would_show(recorder: Path) -> None:
    seen = recorder.with_name("seen")
    program(recorder.with_name("ssh"), f'#!/bin/sh\nprintf "%s" "$*" >>{shlex.quote(str(seen))}\n')
    environment = {**os.environ, "HOSTS": "a", "OPTUNA_STORAGE": URL, "SSH": str(recorder.with_name("ssh"))}
    subprocess.run([EXAMPLES / "hosts.sh", "start"], env=environment, check=True, timeout=30, capture_output=True)
    assert "cli.py" in seen.read_text(encoding="utf-8")
    assert "secret" not in seen.read_text(encoding="utf-8")


def test_a_host_that_is_away_fails_the_script_after_the_others_were_told(recorder: Path) -> None:
    program(recorder, "#!/bin/sh\necho told\n")
    ended = hosts(recorder, "start", names="away a b")
    assert ended.returncode == 1
    assert logs(recorder.parent, 1) == [["told"]] * 2


@pytest.mark.parametrize("words", [(), ("restart",)])
def test_the_script_for_hosts_says_what_it_can_do(recorder: Path, words: tuple[str, ...]) -> None:
    ended = hosts(recorder, *words)
    assert ended.returncode == 2
    assert "start [COMMAND [OPTION]...] | log | stop" in ended.stderr


def test_the_kubernetes_job_searches_with_the_cores_that_it_asks_for_and_keeps_its_results() -> None:
    claim, job = yaml.safe_load_all((EXAMPLES / "job.yaml").read_text(encoding="utf-8"))
    assert (claim["kind"], job["kind"]) == ("PersistentVolumeClaim", "Job")
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    options = parsed([*container["command"][1:], *container["args"]])
    assert options["workers"] == int(container["resources"]["requests"]["cpu"])
    assert options["dataset"] == "mnist"
    [volume] = pod["volumes"]
    [mount] = container["volumeMounts"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert mount["name"] == volume["name"]
    assert options["results_dir"] == Path(mount["mountPath"])
    assert [variable["name"] for variable in container["env"]] == ["OPTUNA_STORAGE"]
    assert "value" not in container["env"][0]
