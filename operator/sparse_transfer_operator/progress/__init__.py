"""The endpoint that runners post their progress to: HTTPS, a pod's own token, one writer.

Progress is for people who watch: losing some of it changes nothing, and nothing is decided by it.
"""

from __future__ import annotations
