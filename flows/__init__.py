"""The flows that a person, a schedule or an event starts. No vendor name appears here."""

from tasks.quiet import quiet_steps

quiet_steps()
