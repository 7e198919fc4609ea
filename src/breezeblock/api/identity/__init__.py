"""Finding out who asks, where not everybody is believed: users in files, or Keystone."""
