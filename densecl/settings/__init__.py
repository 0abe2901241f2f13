"""Derives settings from photos, machine and hours, each with its reason."""

from .conditions import Conditions, Speed
from .machine import Machine, look_at_machine
from .photos import Photos, describe_photos
from .record import Setting, settings_table
from .rules import advice, derive

__all__ = [
    'Conditions',
    'Machine',
    'Photos',
    'Setting',
    'Speed',
    'advice',
    'derive',
    'describe_photos',
    'look_at_machine',
    'settings_table',
]
