"""`python -m vmaf_assay`, the same as `assay`."""

from vmaf_assay.cli.main import run

if __name__ == "__main__":
    run()
