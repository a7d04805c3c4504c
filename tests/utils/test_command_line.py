"""What the command lines share."""

import argparse
import os
import signal
import threading

import pytest

from hart.utils.command_line import EndOnInterrupt, Parser, fraction, from_zero, tell, whole_number


def test_numbers_of_flags():
    assert whole_number(1)("3") == 3 and from_zero("2.5") == 2.5 and fraction("1") == 1.0
    for parse, text, allowed in (
        (whole_number(1), "0", "a whole number from 1"),
        (whole_number(0), "1.5", "a whole number from 0"),
        (from_zero, "nan", "a finite number from 0"),
        (from_zero, "x", "a finite number from 0"),
        (fraction, "1.1", "a number from 0 to 1"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=f"it is '{text}'; allowed is {allowed}"):
            parse(text)


def test_a_bad_flag_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as left:
        Parser(prog="tool").parse_args(["--x"])
    assert left.value.code == 2
    assert capsys.readouterr().err == "tool: unrecognized arguments: --x; see --help.\n"


def test_ctrl_c_ends_a_call_and_twice_the_process():
    seen, before = [], signal.getsignal(signal.SIGINT)
    with EndOnInterrupt(lambda index, info: seen.append(index)) as callback:
        assert callback(0, None) is True
        os.kill(os.getpid(), signal.SIGINT)
        assert callback(1, None) is False and seen == [0, 1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_have_no_signals():
    answers = []

    def work() -> None:
        with EndOnInterrupt() as callback:
            answers.append(callback(0, None))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [True]


def test_a_line_is_told(capsys):
    tell("ü")
    assert capsys.readouterr().out == "ü\n"
