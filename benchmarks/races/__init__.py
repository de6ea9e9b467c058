"""All races by name."""

from races import cams, opti_cam, streams

RACES = cams.RACES | streams.RACES | opti_cam.RACES
