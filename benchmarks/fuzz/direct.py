"""Numbers of cases go in; each is decoded in this process, so that a fault's traceback comes out.

python -X faulthandler -W error -m benchmarks.fuzz.direct 17 18
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.fuzz.cases import case, decode, read_clips
from bimba.errors import BimbaError
from bimba.video.source import Video


def main() -> None:
    """Run the cases in turn; the first fault ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", nargs="+", type=int)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = read_clips(folder)
        for number in parser.parse_args().numbers:
            file = case(number)
            print(f"{number}: {file.clip}, {file.kind}, {dict(file.reading)}", flush=True)
            start = time.perf_counter()
            try:
                outcome = f"{decode(Video(file.write(clips[file.clip], folder), **file.reading))} frames"
            except BimbaError as error:
                outcome = f"{type(error).__name__}: {error.problem}"
            print(f"  {time.perf_counter() - start:.2f} s: {outcome}", flush=True)


if __name__ == "__main__":
    main()
