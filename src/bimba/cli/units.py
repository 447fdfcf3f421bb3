"""Numbers in, what people read out: 16.2 GB, 2 min 05 s, 13,440."""

_BYTES = ("bytes", "kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR = 60, 3600


def in_bytes(num_bytes: float) -> str:
    """A size in decimal units, as disks and downloads are counted: `16.2 GB`."""
    size, unit = float(num_bytes), 0
    while size >= 999.5 and unit < len(_BYTES) - 1:
        size, unit = size / 1000, unit + 1
    if unit == 0:
        return "1 byte" if num_bytes == 1 else f"{num_bytes:.0f} bytes"
    return f"{size:.1f} {_BYTES[unit]}" if size < 99.95 else f"{size:.0f} {_BYTES[unit]}"


def in_seconds(seconds: float) -> str:
    """A length of time: `0.25 s`, `7.5 s`, `42 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    minutes = round(seconds / _MINUTE)
    return f"{minutes // _MINUTE} h {minutes % _MINUTE:02d} min"


def in_count(count: int) -> str:
    """A whole number with its thousands apart: `13,440`."""
    return f"{count:,}"


def in_words(count: int) -> str:
    """A large number in words: `8.11 billion`, `231 thousand`."""
    for size, word in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if count >= size * 0.9995:
            return f"{count / size:.3g}{word}"
    return str(count)


def at_time(seconds: float, *, hundredths: bool = False) -> str:
    """A place in a video: `0:07.5`, `12:34.0`, `1:02:03.5`; with hundredths of a second `0:07.54`."""
    digits = 2 if hundredths else 1
    minutes, rest = divmod(round(seconds * 10**digits), _MINUTE * 10**digits)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{clock}:{rest // 10**digits:02d}.{rest % 10**digits:0{digits}d}"
