"""Exports run directories as versions that model servers load."""

from wukong_tf import extras

extras.check_own("export", "trainer")
