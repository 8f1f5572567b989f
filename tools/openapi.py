"""Write movierec/static/openapi.json from the routes of movierec.api; with --check,
only say whether it is current."""

import json
import sys
from pathlib import Path

from movierec import api

FILE = Path(api.__file__).parent / api.DOCUMENT


def main(check: bool) -> int:
    "0 if the file is current, or has been written."
    text = json.dumps(api.openapi_document(), indent=1, ensure_ascii=False) + "\n"
    if not check:
        FILE.write_text(text, encoding="utf-8")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != text:
        print(f"{FILE.name} is not what the routes say; write it with: make fix")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
