"""A step of the demo is done once, and an interrupted one never counts as done."""

import sys
from pathlib import Path

import pytest
from stages import exclusive, run_once, run_script


def write(path: Path) -> None:
    path.write_text('result')


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_finished_step_is_skipped_and_its_time_kept(tmp_path, capsys):
    folder = tmp_path / 'step'
    first = run_once(folder, 'Step', 'key', lambda: write(folder / 'file'))
    again = run_once(folder, 'Step', 'key', lambda: pytest.fail('ran twice'))
    assert again == first and 'Step: already there' in capsys.readouterr().out


def test_step_with_another_key_starts_over_in_an_empty_folder(tmp_path):
    folder = tmp_path / 'step'
    run_once(folder, 'Step', 'old', lambda: write(folder / 'old'))
    run_once(folder, 'Step', 'new', lambda: write(folder / 'new'))
    assert {path.name for path in folder.iterdir()} == {'new', 'complete.json'}


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError('No space left on device'), SystemExit])
def test_interrupted_step_is_done_again_from_an_empty_folder(error, tmp_path):
    folder = tmp_path / 'step'

    def interrupted():
        write(folder / 'half')
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        run_once(folder, 'Step', 'key', interrupted)
    run_once(folder, 'Step', 'key', lambda: write(folder / 'whole'))
    assert {path.name for path in folder.iterdir()} == {'whole', 'complete.json'}


def test_interrupted_emptying_does_not_leave_the_old_stamp(tmp_path, monkeypatch):
    folder = tmp_path / 'step'
    run_once(folder, 'Step', 'old', lambda: write(folder / 'file'))
    with monkeypatch.context() as context:
        context.setattr('shutil.rmtree', interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_once(folder, 'Step', 'new', lambda: None)
    done = []
    run_once(folder, 'Step', 'old', lambda: done.append(True))
    assert done


def test_script_ends_when_its_log_cannot_be_written(tmp_path, monkeypatch):
    script = tmp_path / 'script.py'
    script.write_text('import time\nprint("line", flush=True)\ntime.sleep(600)')

    def full(line):
        raise OSError('No space left on device')

    monkeypatch.setattr('stages.show_progress', full)
    with pytest.raises(OSError, match='No space left'):
        run_script([script], tmp_path / 'log')  # would take ten minutes if it waited for the script


def test_script_output_goes_to_the_log_and_its_progress_to_the_screen(tmp_path, capsys):
    line = 'INFO - Iter(train) [ 10/200]  lr: 1.0e-03  eta: 0:00:12  time: 0.1  loss: 0.5  decode.acc_seg: 71.0'
    script = tmp_path / 'script.py'
    script.write_text(f'print("chatter"); print({line!r})')
    run_script([script], tmp_path / 'log')
    assert (tmp_path / 'log').read_text() == f'chatter\n{line}\n'
    shown = capsys.readouterr().out
    assert 'train   10/200' in shown and 'loss: 0.5' in shown and 'acc_seg: 71.0' in shown and 'chatter' not in shown


def test_failing_script_ends_the_program_with_the_end_of_its_output(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('print("before"); raise ValueError("reason")')
    with pytest.raises(SystemExit, match='(?s)ValueError: reason.*script.py failed; its whole output'):
        run_script([script], tmp_path / 'log')


def test_script_runs_in_this_python(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import sys; print(sys.executable)')
    run_script([script], tmp_path / 'log')
    assert (tmp_path / 'log').read_text().strip() == sys.executable


def test_second_run_in_the_same_folder_ends(tmp_path):
    with exclusive(tmp_path / 'out'):
        with pytest.raises(SystemExit, match='another run is writing to .*out'), exclusive(tmp_path / 'out'):
            pytest.fail('two runs at once')
    with exclusive(tmp_path / 'out'):
        assert (tmp_path / 'out').is_dir()
