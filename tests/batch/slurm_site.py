"""A real Slurm on this machine: two CPU nodes and one GPU node that are processes of ours.

Needs root and Debian's slurmd, slurmctld, slurm-client and munge. Nothing in /etc is read or
written, everything listens on loopback, and it all ends with `Site.stop`.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
PACKAGES = "apt-get install --no-install-recommends slurmd slurmctld slurm-client munge"
NODES = ("c1", "c2", "g1")
WAIT_S = 60.0  # [s] nothing is measured

CONF = """
ClusterName=aga
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CryptoType=crypto/munge
CredType=cred/munge
MpiDefault=none
SwitchType=switch/none
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={root}/jobs.txt
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=200000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=256
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
MinJobAge=60
KillWait=2
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes=c1,c2 Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
PartitionName=gpu Nodes=g1 MaxTime=INFINITE DefaultTime=60 State=UP
"""


def missing():
    """Why there can be no Slurm here, or an empty string."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed: {PACKAGES}"
    return "" if os.geteuid() == 0 else "a Slurm of one's own needs root"


PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))


class Site:
    """The daemons, as long as they run."""

    def __init__(self):
        # not pytest's folder: the path of a socket has at most 108 characters
        self.root = Path(tempfile.mkdtemp(prefix="aga-slurm-"))
        self.root.chmod(0o755)
        self.conf = self.root / "slurm.conf"
        self.env = {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.conf)}

    def start(self):
        """All nodes idle."""
        ports = free_ports(1 + len(NODES))
        host = socket.gethostname().partition(".")[0]
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 "
            f"RealMemory=8000 State=UNKNOWN{' Gres=gpu:1' if name == 'g1' else ''}"
            for name, port in zip(NODES, ports[1:], strict=True)
        ]
        self.conf.write_text(
            CONF.format(root=self.root, host=host, ctld_port=ports[0], nodes="\n".join(lines))
        )
        (self.root / "gres.conf").write_text("NodeName=g1 Name=gpu File=/dev/null\n")
        (self.root / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (self.root / "state").mkdir(mode=0o700)
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.run(
            "munged",
            f"--socket={self.root}/munge.socket",
            f"--key-file={key}",
            f"--pid-file={self.root}/munged.pid",
            f"--log-file={self.root}/munged.log",
            f"--seed-file={self.root}/munge.seed",
        )
        until((self.root / "munge.socket").exists, "munged")
        self.run("slurmctld", "-f", str(self.conf), "-i")
        for name in NODES:
            self.start_node(name)
        until(lambda: set(self.node_states().values()) == {"idle"}, "three idle nodes")

    def stop(self):
        """All jobs and daemons gone, and the folder with them."""
        with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            if ids := list(self.jobs()):
                self.run("scancel", *ids)
                until(lambda: not self.jobs(), "the queue to be empty")
        for name in [*(f"slurmd-{node}" for node in NODES), "slurmctld", "munged"]:
            self.end(name)
        shutil.rmtree(self.root, ignore_errors=True)

    def run(self, *command):
        """What a command says."""
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=WAIT_S, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def jobs(self, *states):
        """Names of jobs by id: all, or those in some states."""
        chosen = ("--states", ",".join(states)) if states else ()
        lines = self.run("squeue", "--noheader", *chosen, "--format", "%i %j").splitlines()
        return dict(line.split() for line in lines)

    def job(self, number):
        """What Slurm knows of a job."""
        words = self.run("scontrol", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def node_states(self):
        """State by node."""
        return dict(line.split() for line in self.run("sinfo", "-hN", "-o", "%N %T").splitlines())

    def start_node(self, name):
        """A node comes up."""
        self.run("slurmd", "-N", name, "-f", str(self.conf))

    def lose_node(self, name):
        """As if it had lost power: its daemon and all its jobs are killed."""
        numbers = self.run("squeue", "--noheader", "-w", name, "--format", "%i").split()
        steps = [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(
                f"slurmstepd: [{number}." in " ".join(process.info["cmdline"] or ())
                for number in numbers
            )
        ]
        daemon = psutil.Process(int((self.root / f"slurmd-{name}.pid").read_text()))
        programs = [child for step in steps for child in step.children(recursive=True)]
        # a step that outlives its program would report its end, as a node without power cannot
        for process in [daemon, *steps, *programs]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def bring_back(self, name):
        """A node that was set down takes jobs again; it may have come back by itself."""

        def up():
            state = self.node_states()[name]
            if state.startswith("down"):
                with suppress(AssertionError):  # no more
                    self.run("scontrol", "update", f"NodeName={name}", "State=RESUME")
            return state in ("idle", "mixed", "allocated")

        until(up, f"{name} to be back")

    def end(self, name):
        """Stop a daemon by its process id, if it runs."""
        try:
            process = psutil.Process(int((self.root / f"{name}.pid").read_text()))
            assert process.name() == name.partition("-")[0]
            process.send_signal(signal.SIGTERM)
            end = time.monotonic() + 10.0
            # a zombie is as good as gone: not every machine's first process reaps
            while process.status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() > end:
                    process.kill()
                time.sleep(0.02)
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return


def free_ports(count):
    """Ports of loopback that nobody uses."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until(condition, what, limit=WAIT_S):
    """Wait for it."""
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)
    return value
