"""Install this project into the environment that runs this, and say in a few lines what
pip would in two hundred: the packages as they come, and errors.

    .venv/bin/python tools/install.py serve

The argument is an extra of setup.py. The exit status is pip's.
"""

import re
import subprocess
import sys

PIP = "-m pip install --disable-pip-version-check --no-color --progress-bar off"
WHAT = "-c constraints.txt -e"
NAME = r"[A-Za-z][\w.]*(?:-[A-Za-z][\w.]*)*"
COMES = re.compile(rf"(?:Collecting |Processing \S*/)({NAME})")
SAID = {
    "Obtaining": "  First what is needed to build it ...",
    "Installing collected": "  All are here; unpacking them ...",
}
A_LINE = 12  # names


def main() -> int:
    "Run pip; what it says goes by as it is said."
    command = [sys.executable, *PIP.split(), *WHAT.split(), f".[{sys.argv[1]}]"]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    names = 0  # that stand on the line
    with subprocess.Popen(command, **pipe) as pip:
        for line in pip.stdout:
            if comes := COMES.match(line):
                print(", " if names else "  ", comes[1], sep="", end="", flush=True)
                names += 1
            said = next(
                (said for how, said in SAID.items() if line.startswith(how)), ""
            )
            if line.lstrip().lower().startswith("error"):
                said = line.rstrip()
            if names and (said or names == A_LINE):
                print(flush=True)
                names = 0
            if said:
                print(said, flush=True)
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main())
