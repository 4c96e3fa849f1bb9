"""The codec under atheris, which goes where new code is reached; a program, run by its test.

    python -m tests.schemas.codec_fuzzing CORPUS -runs=5000 -seed=1

CORPUS is a folder of records to begin with. It ends with another code than 0, and says what it
met, at anything but a record that is taken or refused with a reason.
"""

import sys

import atheris

with atheris.instrument_imports(include=["schemas"]):
    from schemas.codec import RecordError, decode, decode_request, encode


def one(raw: bytes) -> None:
    """What is taken is the same when it is written and read again; what is not has a reason."""
    for taking in (decode, by_people):
        try:
            taken = taking(raw)
        except RecordError as error:
            if not error.code.isupper() or not 0 < len(error.reason) < 2_000:
                raise AssertionError(f"refused with {error.code}: {error.reason}") from None
            continue
        if taking is decode and decode(encode(decode(raw))) != taken:
            raise AssertionError("it is another record when it is read again")


def by_people(raw: bytes) -> object:
    """As a command that somebody pasted."""
    return decode_request(raw, topic="commands.control", partition=0, offset=0)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
