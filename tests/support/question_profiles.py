"""Profiles that tests ask by."""

#: The beginning of a profile: a number and a yes or no.
INVOICE_QUESTIONS = """
name = "survey"
[[questions]]
name = "invoice_total"
kind = "number"
max_tokens = 16
empty_answer = "NONE"
prompt = "Which total does this invoice ask for? Answer in digits, with a decimal point; without one: NONE"
[[questions]]
name = "has_signature"
kind = "yes_no"
max_tokens = 8
prompt = "Is it signed? Answer yes or no."
"""
