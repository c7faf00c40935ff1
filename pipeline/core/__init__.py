"""Values and mechanisms that every other room uses; nothing here knows a stage."""
