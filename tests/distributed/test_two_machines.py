"""Ranks on two machines, simulated on one kernel by network namespaces, a virtual cable and a stand-in for ``ssh``."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.distributed.test_mpi import MPIEXEC, ROOT, ended, surroundings
from tests.distributed.test_ranks import EVERYTHING, difference, network, train

SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
case $1 in 10.77.0.1) place=FIRST;; 10.77.0.2) place=SECOND;; *) exit 1;; esac
shift
exec ip netns exec $place sh -c "$*"
"""
# MPICH detects that both are on one kernel and would use shared memory instead of the cable
BY_CABLE = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "cable", "FI_PROVIDER": "tcp"}


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def plugged_in(machine, patience_s=20):
    """Wait until the kernel reports the cable as up, since MPI ignores it before; returns False after a timeout."""
    until = time.monotonic() + patience_s
    while ip("-n", machine, "-br", "link", "show", "cable").split()[1] != "UP":
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def machines(tmp_path):
    """Two machines connected by a cable; ``run(size, what, …)`` starts half of the ranks on each."""
    pytest.importorskip("mpi4py")
    version = subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True).stdout if MPIEXEC.exists() else ""
    if "HYDRA" not in version:
        pytest.skip("needs the mpiexec of MPICH beside Python: pip install 'tinycnn[mpi]'")
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need `ip` (apt install iproute2), and root")
    first, second = names = [f"tinycnn-{os.getpid()}-{number}" for number in (1, 2)]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("-n", first, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", second)
            ip("netns", "exec", first, "true")  # mounts /sys again, which needs a permission
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        for number, name in enumerate(names, start=1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "cable", "up")
        if not all(plugged_in(name) for name in names):
            pytest.skip("the cable between two network namespaces does not come up here")
        yield Machines(tmp_path, first, second)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


class Machines:
    def __init__(self, folder, first, second):
        self.folder, self.first, self.ssh = folder, first, folder / "ssh"
        self.ssh.write_text(SSH.replace("FIRST", first).replace("SECOND", second))
        self.ssh.chmod(0o700)

    def run(self, size, *arguments):
        """``(exit code, output, errors)``."""
        command = ["ip", "netns", "exec", self.first, MPIEXEC, "-hosts", "10.77.0.1,10.77.0.2", "-ppn", str(size // 2)]
        command += ["-launcher", "ssh", "-launcher-exec", self.ssh, "-n", str(size), sys.executable]
        command += [ROOT / "tests" / "support" / "mpi_program.py", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = surroundings(**BY_CABLE)
        return ended(subprocess.Popen(list(map(str, command)), cwd=self.folder, env=environment, **pipes))

    def received(self):
        """The number of bytes that the first machine received over the cable."""
        counter = "/sys/class/net/cable/statistics/rx_bytes"
        command = ["ip", "netns", "exec", self.first, "cat", counter]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_two_machines_match_one_process(machines):
    state, history = train(network(), **EVERYTHING)
    file = Path(machines.folder) / "a.npz"
    code, out, errors = machines.run(4, "train", file)
    assert code == 0, errors
    result = json.loads(out.splitlines()[-1])
    assert result["threads"] == max(len(os.sched_getaffinity(0)) // 2, 1)  # two ranks per machine
    assert np.allclose(result["history"], history, rtol=1e-12)
    assert difference(state, dict(np.load(file))) < 1e-12


def test_all_reduce_sends_the_expected_bytes(machines):
    """Each of two ranks sends half of its numbers, then the half that it summed: 8 MB."""
    before = machines.received()
    code, out, errors = machines.run(2, "large sum")
    assert (code, out.splitlines()[-1]) == (0, "11.0"), errors
    assert 8e6 < machines.received() - before < 9e6


def test_a_rank_that_dies_on_another_machine_ends_all(machines):
    code, out, errors = machines.run(4, "dies")
    assert code != 0
    assert re.search("terminated|abort|signal 9|killed", out + errors, re.IGNORECASE)
