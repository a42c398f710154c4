"""What a command says about words that it does not know: one sentence, with the option that was probably meant."""

import pytest

from tinycnn.commands import COMMANDS, main, make_parser
from tinycnn.commands.parser import MEANT

COMMAND_PARSERS = make_parser()[1]


def refused(words, capsys):
    """The error of ``tinycnn WORDS``, without the word error."""
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    printed = capsys.readouterr()
    assert (stopped.value.code, printed.out) == (2, "")
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("error: ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "train --learning-rate 3",
            "there is no option --learning-rate; did you mean --lr? (all options: tinycnn",
        ),
        ("train --learning_rate=3", "there is no option --learning_rate; did you mean --lr?"),
        ("train --epoch 3", "there is no option --epoch; did you mean --epochs?"),
        ("train -lr 3", "there is no option -lr; did you mean --lr?"),
        ("train --batch 3", "did you mean --batch-size?"),
        ("train --check 3", "did you mean --checkpoint-every?"),
        ("train --grey --epochs 3 --colour", "--colour and --grey exclude each other: pass one of them (all options:"),
        ("train --augment=affine --no-augment", "--augment and --no-augment exclude each other"),
        ("lr-find --colour --grey", "--colour and --grey exclude each other"),
        ("train --gpu", "did you mean --backend cupy?"),
        ("train --patience 3", "did you mean --early-stopping?"),
        ("train --epochs 3 --lerning 2 more", "there is no option --lerning (all options: tinycnn train --help)"),
        ("train --model lenett", "argument --model: invalid choice: 'lenett', expected lenet, keras_cnn, "),
        ("train --model lenett", "wide_whitened_cnn; did you mean lenet? (all options: tinycnn train --help)"),
        ("train --model resnet", "cifar_cnn, whitened_cnn, wide_whitened_cnn (all options: tinycnn train --help)"),
        ("train --optimizer Adam", "expected sgd, adam, adamw, rmsprop, muon, filter_muon; did you mean adam?"),
        ("train lenet", "unexpected 'lenet'; did you mean --model lenet?"),
        ("train mine.npz", "unexpected 'mine.npz'; did you mean --dataset mine.npz?"),
        ("gradcheck mine", "unexpected 'mine' (all options: tinycnn gradcheck --help)"),
        (
            "predict --model m.safetensors a.png",
            "there is no option --model: write the model without --model, as in tinycnn predict [MODEL_FILE] IMAGE",
        ),
        ("predict --bakend numpy a.png", "did you mean --backend?"),
        ("evaluate", "the following arguments are required: MODEL_FILE (all options: tinycnn evaluate --help)"),
        ("trian", "argument COMMAND: invalid choice: 'trian', expected train, summary, "),
        ("trian", "; did you mean train? (all options: tinycnn --help)"),
        ("--verson", "there is no option --verson; did you mean --version? (all options: tinycnn --help)"),
    ],
)
def test_unknown_words(words, expected, capsys):
    assert expected in refused(words, capsys)


def test_a_word_with_a_space_is_quoted():
    assert COMMAND_PARSERS["train"].about_unknown("Photos of Ann").endswith("mean --dataset 'Photos of Ann'?")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_itself_and_corrects_its_own_options(command, capsys):
    options = [option for option in COMMAND_PARSERS[command]._option_string_actions if option.startswith("--")]
    assert refused(f"{command} --qqqq", capsys).endswith(f" (all options: tinycnn {command} --help)\n")
    for option in options:
        assert option in COMMAND_PARSERS[command].about_unknown(option + "x")


def test_options_of_other_programs_lead_to_options_that_exist():
    known = {name for parser in COMMAND_PARSERS.values() for name in parser._option_string_actions}
    assert {f"--{meant}".split()[0] for several in MEANT.values() for meant in several} <= known
    assert not {f"--{name}" for name in MEANT} & set(COMMAND_PARSERS["train"]._option_string_actions)
    train = COMMAND_PARSERS["train"]
    assert all(f"--{several[0]}?" in train.about_unknown(f"--{name}") for name, several in MEANT.items())
