"""Evidence by what tokens spell, which fusion by surfaces rests on."""
