"""A program that a model wrote runs shut in: no network, no time without end, and only its last line is a pass."""

import pytest

from evals.harness import programs

ENTRY = {"prompt": "def one():\n", "entry_point": "one", "test": "def check(f):\n    assert f() == 1\n"}


def test_the_right_continuation_passes_and_a_wrong_one_fails():
    assert programs.humaneval(ENTRY, ["    return 1"]) == {"pass@1": 1.0}
    assert programs.humaneval(ENTRY, ["    return 2"]) == {"pass@1": 0.0}
    assert programs.mbpp({"test_list": ["assert one() == 1"]}, ["def one():\n    return 1"]) == {"pass@1": 1.0}


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(0)",
        "import os; os._exit(0)",
        "import socket; socket.create_connection(('127.0.0.1', 80), timeout=1)",
        "x = bytearray(4 << 30)",
        "open('big', 'wb').write(bytes(2 << 20))",
    ],
)
def test_leaving_early_reaching_out_and_taking_too_much_are_no_pass(program):
    assert not programs.passes(program)


def test_a_listener_of_this_machine_is_out_of_reach():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        assert not programs.passes(f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=1)")


def test_an_endless_program_is_stopped(monkeypatch):
    monkeypatch.setattr(programs, "SECONDS", 1)
    assert not programs.passes("while True: pass")


def test_a_machine_without_namespaces_refuses_to_run_anything(monkeypatch):
    def refuse():
        raise OSError("unshare")

    monkeypatch.setattr(programs, "_shut_in", refuse)
    with pytest.raises(programs.BoxError, match="container"):
        programs.passes("pass")
