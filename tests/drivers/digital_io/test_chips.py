"""Finding lines, and what is said where one cannot be had."""

import errno
import os
import sys

import pytest

from drivers.base import DriverError
from drivers.digital_io.driver import DigitalIODriver
from drivers.digital_io.settings import DigitalIOSettings, DigitalSignal


@pytest.fixture
def board(kernel):
    """An industrial computer with three chips, whose inputs have names."""
    kernel.add("gpiochip0", "pch-gpio", 4)
    kernel.add("gpiochip1", "dio-card", ["DI0", "DI1", "DI2", "DI3", "DO0"])
    kernel.add("gpiochip10", "dio-card-2", ["DI0", "DI9"])
    return kernel


@pytest.fixture
async def taken(context, kernel):
    """Open a source with these signals; the (chip, number) of each line that was taken."""

    async def taken(chip=None, **signals):
        settings = DigitalIOSettings(
            driver="digital_io",
            pins="gpio",
            chip=chip,
            signals={name: DigitalSignal(**keys) for name, keys in signals.items()},
        )
        driver = DigitalIODriver(
            settings, context(source="box", rules=signals), open_chip=kernel.open_chip, dev=kernel.dev
        )
        try:
            await driver.open()
            return [
                (each.name, number)
                for each in kernel.chips.values()
                for number, wire in enumerate(each.wires)
                if wire.request is not None
            ]
        finally:
            await driver.close()

    return taken


@pytest.fixture
def why(taken):
    """What is said when it cannot be had."""

    async def why(chip=None, **signals):
        with pytest.raises(DriverError) as caught:
            await taken(chip, **signals)
        return str(caught.value)

    return why


@pytest.mark.parametrize("chip", ["gpiochip1", "dio-card", "{dev}/gpiochip1", "{dev}/inputs", "inputs"])
async def test_a_chip_has_a_path_a_name_a_label_and_aliases(board, taken, chip):
    (board.dev / "inputs").symlink_to("gpiochip1")
    assert await taken(chip.format(dev=board.dev), a={"line": 3}, b={"line": "DI1"}) == [
        ("gpiochip1", 1),
        ("gpiochip1", 3),
    ]


async def test_a_name_is_looked_for_on_all_chips(board, taken):
    assert await taken(a={"line": "DI9"}, b={"line": "DO0"}) == [("gpiochip1", 4), ("gpiochip10", 1)]


async def test_a_signal_may_be_on_another_chip(board, taken):
    signals = {"a": {"line": 1}, "b": {"line": 1, "chip": "gpiochip0"}, "c": {"line": "DI0", "chip": "dio-card-2"}}
    assert await taken("gpiochip1", **signals) == [("gpiochip0", 1), ("gpiochip1", 1), ("gpiochip10", 0)]


@pytest.mark.parametrize("label", ["pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835"])
async def test_a_pin_is_on_the_chip_of_the_header(kernel, taken, label):
    kernel.add("gpiochip0", "gpio-brcmstb", 32)
    kernel.add("gpiochip3", label, 54)
    (kernel.dev / "gpiochip4").symlink_to("gpiochip3")  # a Raspberry Pi 5 has it under two names
    assert await taken(a={"pin": 17}) == [("gpiochip3", 17)]


async def test_a_pin_with_a_chip_is_its_line(board, taken):
    board.add("gpiochip2", "header", 32)
    assert await taken("header", a={"pin": 17}) == [("gpiochip2", 17)]


async def test_a_board_without_a_header_has_no_pins(board, why):
    said = await why(a={"pin": 17})
    assert "pin 17: this computer has no chip of a 40-pin header (pinctrl-rp1, pinctrl-bcm2711, pinctrl-bcm28" in said
    assert said.endswith(
        "name chip and line instead; found gpiochip0 (pch-gpio), gpiochip1 (dio-card), gpiochip10 (dio-card-2)"
    )


async def test_a_wrong_chip_is_told_which_there_are(board, why):
    found = "gpiochip0 (pch-gpio), gpiochip1 (dio-card), gpiochip10 (dio-card-2)"
    assert await why("gpiochip7", a={"line": 1}) == f"digital_io: no chip 'gpiochip7'; found {found}"


async def test_a_label_that_two_chips_have_is_not_enough(board, why):
    board.add("gpiochip2", "dio-card", 4)
    said = await why("dio-card", a={"line": 1})
    assert "is the label of gpiochip1 (dio-card), gpiochip2 (dio-card); name one of them" in said


async def test_a_computer_without_chips_says_so(kernel, why):
    assert f"no GPIO chip in {kernel.dev}; this computer has none" in await why(a={"line": "DI0"})


async def test_a_wrong_name_of_a_line_gets_a_suggestion(board, why):
    assert "no line is named 'D13' on gpiochip1 (dio-card); did you mean 'DI3'?" in await why(
        "gpiochip1", a={"line": "D13"}
    )
    assert "names found: 'DI0', 'DI1', 'DI2', 'DI3', 'DO0'" in await why("gpiochip1", a={"line": "xyz"})
    assert "names found: none" in await why("gpiochip0", a={"line": "xyz"})


async def test_a_name_on_two_chips_is_not_enough(board, why):
    said = await why(a={"line": "DI0"})
    assert "the name 'DI0' is that of line 0 of gpiochip1 (dio-card), line 0 of gpiochip10 (dio-card-2)" in said


async def test_a_number_beyond_the_chip_is_told_the_last(board, why):
    assert "no line 5 on gpiochip1 (dio-card); allowed 0 to 4" in await why("gpiochip1", a={"line": 5})


async def test_one_line_under_two_names_is_told_before_the_kernel_is_asked(board, why):
    said = await why("gpiochip1", a={"line": "DI1"}, b={"line": 1})
    assert said == "digital_io: a and b are both line 1 'DI1' of gpiochip1 (dio-card); remove one"


async def test_a_line_in_use_names_who_has_it(board, why):
    board.chips[str(board.dev / "gpiochip1")][3].consumer = "spi0 CS0"
    said = await why(a={"line": "DI3"})
    assert said == (
        "digital_io: line 3 'DI3' of gpiochip1 (dio-card) is in use by 'spi0 CS0'; stop that, or take another line"
    )


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
async def test_no_permission_names_the_group(board, why, code):
    for chip in board.chips.values():
        chip.refuses = code
    said = await why("gpiochip1", a={"line": 1})
    assert said.startswith(f"digital_io: no permission for {board.dev}/gpiochip0; put the gateway's user in the group")


async def test_a_chip_that_may_not_be_looked_at_is_named_where_nothing_was_found(board, why):
    board.chips[str(board.dev / "gpiochip1")].refuses = errno.EACCES
    assert "not allowed to look at gpiochip1 (is the user in the group gpio?)" in await why(a={"line": "DI3"})


async def test_a_line_without_interrupts_is_said(board, why):
    board.chips[str(board.dev / "gpiochip1")][1].refuses = errno.ENXIO
    assert "line 1 'DI1' of gpiochip1 (dio-card) cannot tell edges (No such device or address)" in await why(
        a={"line": "DI1"}
    )


async def test_any_other_refusal_keeps_the_kernels_words(board, why):
    board.chips[str(board.dev / "gpiochip1")][1].refuses = errno.EINVAL
    assert "cannot be had: Invalid argument; check pull and debounce" in await why(a={"line": "DI1"})


async def test_a_kernel_without_the_second_interface_is_said(board, why):
    for chip in board.chips.values():
        chip.old_kernel = True
    said = await why("gpiochip1", a={"line": 1})
    assert f"the kernel ({os.uname().release}) has not the second GPIO interface; it needs Linux 5.10" in said


async def test_a_file_that_is_no_chip_is_said(board, why):
    (board.dev / "gpiochip2").write_text("")
    assert f"{board.dev}/gpiochip2 is not a GPIO chip (No such device)" in await why("gpiochip1", a={"line": 1})


async def test_without_libgpiod_the_extra_is_named(board, why, monkeypatch):
    monkeypatch.delitem(sys.modules, "drivers.digital_io.gpiod_factory", raising=False)
    monkeypatch.setitem(sys.modules, "gpiod", None)  # how Python marks a module that cannot be had
    said = await why("gpiochip1", a={"line": 1})
    assert "libgpiod's Python package cannot be loaded" in said
    assert "install linegate[pi] (gpiod 2.3 or later)" in said
