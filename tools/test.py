"""Evaluate a checkpoint with the testing script of the toolkit that the config belongs to.

    python tools/test.py CONFIG CHECKPOINT [arguments of that script]
    python tools/test.py CONFIG --help

The toolkit (mmsegmentation or mmpretrain) is the one that `default_scope` names in the config. Its own tools/test.py is run
unmodified and gets all arguments, among them --work-dir, --out and --cfg-options; the second form lists them.
"""

from toolkit_script import run_toolkit_script

if __name__ == '__main__':
    run_toolkit_script('test.py', __doc__)
