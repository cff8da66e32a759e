"""What pose estimators save that is not read, and the line that converts it.

=============  ==================================================================================================
JSON lines     a JSON table in every line
JSON twice     what ``Results.to_json`` of Ultralytics gives, a text, saved by ``json.dump``, which makes one text of it
easy_ViTPose   ``{"keypoints": [{"0": [[y, x, score], ...]}, ...], "skeleton": {"0": "nose", ...}}``, a row per frame
MMPose in 3-D  what its inferencer writes of a video with a lifter, 17 joints of h36m in space
MediaPipe      ``[{"pose_landmarks": [[{"x": ..., "y": ..., "z": ...}, ...]]}, ...]``, a row per frame, shares of the picture
YOLO labels    text, a file per frame, a row per person: class, box, then x and y as shares of the picture and a score of 17 joints
=============  ==================================================================================================
"""

from __future__ import annotations

import re
from pathlib import Path

from skelzoo.errors import ReadError
from skelzoo.skeleton.io.files import is_json, is_json_lines, read_head

_JOINTS = re.compile(rb'"(keypoints|landmarks|pose_?[lL]andmarks|skeletons?|people|instances)"')
_VITPOSE = re.compile(rb'\s*\{\s*"keypoints"\s*:\s*\[\s*\{\s*("\d+"\s*:\s*\[\s*\[|\})')
_LANDMARK, _LANDMARKS = re.compile(rb'\{\s*"x"\s*:[^{}]*"visibility"'), re.compile(rb'"(landmarks|pose_?[lL]andmarks)"\s*:\s*\[|\A\s*\[\s*\[')

_TWICE = re.compile(rb'\s*"(\\n|\s)*\[.*?\\"keypoints\\"', re.DOTALL)
_ONCE = (
    "Save the text as it is: open(path, 'w').write(result.to_json()), or of all frames json.dump([json.loads(result.to_json()) for result in results], file)."
)
_LINES = "Make a list of it, and give that: python -c \"import json; json.dump([json.loads(line) for line in open('{path}') if line.strip()], open('{stem}_list.json', 'w'))\""
_FROM_VITPOSE = (
    "Convert it, and give what comes of it: python -c \"import json, skelzoo; d = json.load(open('{path}')); names = list(d['skeleton'].values()); "
    "at = [names.index(joint) for joint in skelzoo.get_layout('coco17').joints]; json.dump([{{'image_id': t, 'track_id': int(who), "
    "'keypoints': [joints[i][k] for i in at for k in (1, 0, 2)]}} for t, people in enumerate(d['keypoints']) for who, joints in people.items()], "
    "open('{stem}_poses.json', 'w'))\""
)
_FROM_MEDIAPIPE = (
    "Convert it, with width and height of your picture for 1280 and 720: python -c \"import json, numpy, skelzoo; rows = [{row} for row in json.load(open('{path}'))]; "
    "rows = [row[0] if row and isinstance(row[0], list) else row for row in rows]; x = numpy.array([[(p['x'], p['y']) for p in row or []] or [(0, 0)] * 33 for row in rows]); "
    "skelzoo.save_clips('{stem}.npz', [skelzoo.Clip(x * (1280, 720), 'mediapipe33', image_size=(720, 1280))])\""
)
_FROM_LIFTER = (
    'Convert it, of the first person of each frame, and read what comes of it with --up z where z points up in it: python -c "import json, numpy; '
    "rows = [row['instances'] or [{{'keypoints': [[0] * 3] * 17}}] for row in json.load(open('{path}'))['instance_info']]; "
    "numpy.savez('{stem}.npz', keypoints=[numpy.reshape(row[0]['keypoints'], (17, 3)) for row in rows], layout='h36m17')\""
)
_FROM_YOLO = (
    "Convert the folder, with width and height of your picture for 1280 and 720: python -c \"import json, numpy, pathlib; json.dump([{{'image_id': file.stem, "
    "'keypoints': (row[5:56].reshape(17, 3) * (1280, 720, 1)).ravel().tolist(){track}}} for file in pathlib.Path('{folder}').glob('*[0-9].txt') "
    "for row in numpy.loadtxt(file, ndmin=2)], open('poses.json', 'w'))\""
)


def recognise(head: bytes, path: Path) -> tuple[str, str] | None:
    """What a file that starts with these bytes is, and the line that converts it, if it is one of these."""
    if is_json_lines(head) and _JOINTS.search(head):
        return "looks like JSON lines, which are not read", _LINES.format(path=path, stem=path.stem)
    if _TWICE.match(head):
        return "is a text of JSON saved as JSON once more, which is not read", _ONCE
    if is_json(head) and _VITPOSE.match(head):
        return "looks like JSON of easy_ViTPose, which is not read", _FROM_VITPOSE.format(path=path, stem=path.stem)
    landmarks = _LANDMARKS.search(head) if head.lstrip()[:1] == b"[" and _LANDMARK.search(head) else None
    if landmarks is not None:
        row = f"row['{landmarks[1].decode()}']" if landmarks[1] else "row"
        return "looks like JSON of MediaPipe's landmarks, which is not read", _FROM_MEDIAPIPE.format(path=path, stem=path.stem, row=row)
    return _yolo(head, path)


def lifted(path: Path) -> ReadError:
    """The error for MMPose's 3-D joints of h36m."""
    return ReadError(path, "its joints are 3-D ones of layout h36m17, which is not read of JSON", _FROM_LIFTER.format(path=path, stem=path.stem))


def labels_of(path: Path) -> Path | None:
    """One path for all labels of YOLO in a folder; None for other files."""
    try:
        labels = path.suffix.lower() == ".txt" and _yolo(read_head(path), path) is not None
    except ReadError:
        return None
    return path.with_name("*.txt") if labels else None


def _yolo(head: bytes, path: Path) -> tuple[str, str] | None:
    """Likewise of the labels of one picture; behind the joints the score of the person or an id, or both."""
    rows = [line.split() for line in head.splitlines() if line.strip()]
    widths = {len(row) if all(re.fullmatch(rb"[-+]?(\d+(\.\d+)?|\.\d+)(e[-+]?\d+)?", word) for word in row) else 0 for row in rows}
    if not (len(widths) == 1 and widths <= {56, 57, 58}) or not all(row[0].isdigit() and all(0 <= float(word) <= 1 for word in row[1:5]) for row in rows):
        return None
    tracked = widths == {58} or (widths == {57} and all(row[-1].isdigit() for row in rows))
    track = ", 'track_id': int(row[-1])" if tracked else ""
    return "looks like labels of YOLO, which are not read", _FROM_YOLO.format(folder=path.parent, track=track)
