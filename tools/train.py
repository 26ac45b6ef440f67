"""Train the model of a config with the training script of the toolkit that the config belongs to.

    python tools/train.py CONFIG [arguments of that script]
    python tools/train.py CONFIG --help

The toolkit (mmsegmentation or mmpretrain) is the one that `default_scope` names in the config. Its own tools/train.py is run
unmodified and gets all arguments, among them --work-dir, --resume, --amp and --cfg-options; the second form lists them.
"""

from toolkit_script import run_toolkit_script

if __name__ == '__main__':
    run_toolkit_script('train.py', __doc__)
