"""Stand-ins for the commands of batch systems: jobs are processes of this machine.

They take and give what the manuals of the real ones say, no more; a real Slurm is in
`slurm_site`. Run as ``python fake_batch.py FOLDER COMMAND ARGUMENTS...``.
"""

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

COMMANDS = {
    "slurm": ("sbatch", "scancel", "squeue"),
    "pbs": ("qsub", "qdel", "qstat"),
    "sge": ("qsub", "qdel", "qstat"),
    "lsf": ("bsub", "bkill", "bjobs"),
    "htcondor": ("condor_submit", "condor_rm", "condor_q"),
}


def install(kind, folder):
    """Put the commands of a kind into ``folder``, which goes first in PATH."""
    for command in COMMANDS[kind]:
        path = folder / command
        here = shlex.join([sys.executable, "-S", __file__, str(folder), kind, command])
        path.write_text(f'#!/bin/sh\nexec {here} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def jobs(folder):
    """Names of the jobs that run, by id."""
    found = {}
    for path in sorted(folder.glob("job-*")):
        pid, name = path.read_text().split()
        if running(int(pid)):
            found[path.name.removeprefix("job-")] = name
    return found


def running(pid):
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def submit(folder, kind, arguments):
    """Start the job at once."""
    script = sys.stdin.read() if kind == "lsf" else Path(arguments[-1]).read_text()
    refused = re.search(r"no_such_queue", script)
    if refused:
        print("unknown queue: no_such_queue", file=sys.stderr)
        return 1
    pattern = {"htcondor": r"^batch_name = (\S+)", "slurm": r"-J (\S+)", "lsf": r"-J (\S+)"}
    name = re.search(pattern.get(kind, r"-N (\S+)"), script, flags=re.MULTILINE).group(1)
    number = str(1 + len(list(folder.glob("job-*"))))
    if kind == "htcondor":
        line = re.search(r'^Arguments = "(.*)"$', script, flags=re.MULTILINE).group(1)
        command = ["/bin/sh", "-c", line.removeprefix("-c '")[:-1].replace("''", "'")]
    else:
        path = folder / f"script-{number}"
        path.write_text(script)
        command = ["/bin/bash", str(path)]
    # options on the command line go before those of the script
    told = shlex.join(arguments) + "\n" + script
    log = re.search(r"(?:-o |^output = )(\S+)", told, flags=re.MULTILINE).group(1)
    if re.search(r"--hold$", script, flags=re.MULTILINE):
        command = ["sleep", "3600"]  # a job that waits
    with open(log.replace("%j", number), "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    (folder / f"job-{number}").write_text(f"{process.pid} {name}")
    said = {
        "slurm": "Submitted batch job {}",
        "pbs": "{}.server.example",
        "sge": 'Your job {} ("name") has been submitted',
        "lsf": "Job <{}> is submitted to default queue <normal>.",
        "htcondor": "Submitting job(s).\n1 job(s) submitted to cluster {}.",
    }
    print(said[kind].format(number))
    return 0


def cancel(folder, kind, arguments):
    """End jobs with all their processes."""
    known, status = jobs(folder), 0
    for word in arguments:
        number = word.partition(".")[0]
        if number not in known:
            status = 1
            continue
        pid = int((folder / f"job-{number}").read_text().split()[0])
        # as the systems do it: everything in the job's session
        for path in Path("/proc").glob("[0-9]*"):
            try:
                session = int((path / "stat").read_text().rpartition(")")[2].split()[3])
                if session == pid:
                    os.kill(int(path.name), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue
    return status


def listing(folder, kind, arguments):
    """What is there, in the words of the system; and some of other people's jobs."""
    found = jobs(folder)
    if kind == "slurm":
        print("\n".join(f"{number} {name}" for number, name in {**found, "900": "other"}.items()))
    if kind == "lsf":
        if not found:
            print("No unfinished job found", file=sys.stderr)
            return 255
        print("\n".join(f"{number} {name}" for number, name in found.items()))
    if kind == "htcondor":
        rows = [f"{number} {name} 2" for number, name in found.items()]
        print("\n".join([*rows, "901 undefined 1"]))
    if kind == "sge":
        print("<?xml version='1.0'?>\n<job_info><queue_info>")
        for number, name in {**found, "900": "other"}.items():
            print(
                f'<job_list state="running">\n<JB_job_number>{number}</JB_job_number>\n'
                f"<JB_name>{name}</JB_name>\n<state>r</state>\n</job_list>"
            )
        print("</queue_info></job_info>")
    if kind == "pbs":
        wanted = [word for word in arguments if word != "-f"]
        numbers = [word.partition(".")[0] for word in wanted] or list(found)
        for number in numbers:
            if number in found:
                print(
                    f"Job Id: {number}.server.example\n    Job_Name = {found[number]}\n"
                    f"    Job_Owner = me@here\n    job_state = R\n"
                )
        if unknown := [number for number in numbers if number not in found]:
            print(f"qstat: Unknown Job Id {unknown[0]}.server.example", file=sys.stderr)
            return 153
    return 0


if __name__ == "__main__":
    directory, system, called, *words = sys.argv[1:]
    do = (submit, cancel, listing)[COMMANDS[system].index(called)]
    sys.exit(do(Path(directory), system, words))
