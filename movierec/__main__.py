"The command line as `python -m movierec`: written by hand, unlike the modules."

from movierec.cli import main

if __name__ == "__main__":
    main(prog_name="python -m movierec")
