"""Parts of the chat templates, in Jinja: tools, their calls and results.

A tool takes one line, as the context window is small: its name, its parameters, and its description's first words.
"""

MARKERS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
"""Tokens with a text of their own: none of them is special."""

SYSTEM = (
    "{% set listed %}"
    "{% for tool in tools or [] %}"
    "{% set made = tool['function'] if 'function' in tool else tool %}"
    "{% set lines = (made['description'] or '').split('\n') %}"
    # LlamaIndex puts the signature before the description, on a line of its own
    "{% set told = lines[1] if lines | length > 1 and lines[0].startswith(made['name'] + '(') else lines[0] %}"
    "{{ '\n' + made['name'] + '(' + ((made['parameters'] or {}).get('properties') or {}) | join(', ') + '): ' }}"
    "{{ told.split()[:12] | join(' ') }}"
    "{% endfor %}"
    "{% endset %}"
    "{% set chat = messages %}"
    "{% if tools %}"
    "{% set first = messages[0]['content'] | trim + '\n' if messages[0]['role'] == 'system' else '' %}"
    "{% set rest = messages[1:] if messages[0]['role'] == 'system' else messages %}"
    "{% set chat = [{'role': 'system', 'content': first + 'Tools:' + listed}] + rest %}"
    "{% endif %}"
)
"""Sets ``chat``: the messages, the first of which describes the tools if there are any."""

BODY = (
    "{% set body = (message['content'] or '') | trim %}"
    "{% if message['role'] == 'tool' %}{{ '<tool_response>\n' + body + '\n</tool_response>' }}"
    "{% else %}{{ ' ' + body if body or not message['tool_calls'] else '' }}{% endif %}"
    "{% for call in message['tool_calls'] or [] %}"
    "{% set made = call['function'] if 'function' in call else call %}"
    "{% set given = made['arguments'] %}"
    "{{ '\n' if not loop.first or body else '' }}"
    "{{ '<tool_call>\n{\"name\": ' + made['name'] | tojson + ', \"arguments\": ' }}"
    "{{ given if given is string else given | tojson }}"
    "{{ '}\n</tool_call>' }}"
    "{% endfor %}"
)
"""Writes ``message`` after its role: a space and its text, the result of a tool, or calls."""
