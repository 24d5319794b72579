"""A fake OpenAI that streams on time, and the witness of when its connection was really cut."""
