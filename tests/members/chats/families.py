"""Chat templates in the manner of real families, written anew: what they refuse and leave out is what those do."""

_NOT_IN_TURNS = (
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}" + _NOT_IN_TURNS + "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
"""No system message; user and model in turns."""

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] %}{% set chat = messages[1:] %}"
    "{% else %}{% set chat = messages %}{% set said = false %}{% endif %}"
    "{% for m in chat %}" + _NOT_IN_TURNS + "{% if loop.index0 == 0 and said %}"
    "{% set text = '<<SYS>>\n' + said + '\n<</SYS>>\n\n' + m['content'] %}"
    "{% else %}{% set text = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text | trim + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + text | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
"""One system message, first, which an assistant may not follow; turns; no generation prompt."""

MISTRAL1 = (
    "{{ bos_token }}{% for m in messages %}" + _NOT_IN_TURNS + "{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
"""Neither system message nor tools; turns."""

MISTRAL3 = """\
{%- if messages[0].role == 'system' %}{% set first = messages[0].content %}{% set chat = messages[1:] %}
{%- else %}{% set first = '' %}{% set chat = messages %}{% endif %}
{%- set ns = namespace(count=0) %}
{%- for m in chat %}{% if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}
{%- if (m.role == 'user') != (ns.count % 2 == 0) %}{{ raise_exception('After the optional system message, \
conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{%- set ns.count = ns.count + 1 %}{% endif %}{% endfor -%}
{{ bos_token }}{% for m in chat %}
{%- if m.role == 'user' %}
{%- if tools and m == (chat | selectattr('role', 'equalto', 'user') | list)[-1] -%}
[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif -%}
[INST] {% if loop.last and first %}{{ first + '\n\n' }}{% endif %}{{ m.content }}[/INST]
{%- elif m.tool_calls -%}
[TOOL_CALLS] [{% for call in m.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}\
{% endif -%}
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}
{%- if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}
{%- elif m.role == 'assistant' %} {{ m.content | trim }}{{ eos_token }}
{%- elif m.role == 'tool' %}
{%- if m.tool_call_id | length != 9 %}
{{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif -%}
[TOOL_RESULTS] {"content": {{ m.content | tojson }}, "call_id": "{{ m.tool_call_id }}"}[/TOOL_RESULTS]
{%- else %}{{ raise_exception('Only user and assistant roles are supported, with the exception of an initial optional \
system message!') }}{% endif %}{% endfor %}"""
"""Ids of nine characters; text beside calls is left out, and so is a system message unless the user's is the last."""

LLAMA3 = """\
{%- set date = date_string if date_string is defined else strftime_now('%d %b %Y') %}
{%- if messages[0].role == 'system' %}{% set first = messages[0].content | trim %}{% set chat = messages[1:] %}
{%- else %}{% set first = '' %}{% set chat = messages %}{% endif -%}
{{ bos_token }}<|start_header_id|>system<|end_header_id|>

Today Date: {{ date }}

{% if tools %}Respond in the format {"name": function name, "parameters": dictionary}.
{% for tool in tools %}{{ tool | tojson(indent=4) }}
{% endfor %}{% endif %}{{ first }}<|eot_id|>
{%- for m in chat %}
{%- if not (m.role == 'ipython' or m.role == 'tool' or m.tool_calls) -%}
<|start_header_id|>{{ m.role }}<|end_header_id|>

{{ m.content | trim }}<|eot_id|>
{%- elif m.tool_calls %}
{%- if m.tool_calls | length != 1 %}{{ raise_exception('This model only supports single tool-calls at once!') }}\
{% endif %}{% set call = m.tool_calls[0].function -%}
<|start_header_id|>assistant<|end_header_id|>

{"name": "{{ call.name }}", "parameters": {{ call.arguments | tojson }}}<|eot_id|>
{%- else -%}
<|start_header_id|>ipython<|end_header_id|>

{{ m.content | tojson }}<|eot_id|>
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""
"""One call at once; text beside a call is left out; a date."""

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Everything, but no tools."""

QWEN = """\
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}You are a helpful assistant.{% endif %}

# Tools
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% else %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}
{%- for m in messages %}
{%- if m.role == 'user' or (m.role == 'system' and not loop.first) or (m.role == 'assistant' and not m.tool_calls) -%}
<|im_start|>{{ m.role }}
{{ m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content }}<|im_end|>
{% elif m.role == 'assistant' %}<|im_start|>assistant{% if m.content %}
{{ m.content }}{% endif %}{% for call in m.tool_calls %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% elif m.role == 'tool' %}
{%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}
<tool_response>
{{ m.content }}
</tool_response>{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>
{% endif %}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% endif %}{% endif %}"""
"""Qwen 2.5 and 3: a system message by default, tools, and a variable that leaves the thinking out."""

PHI3 = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + '<|end|>\n' }}"
    "{% elif m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + '<|end|>\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|assistant|>\n' + m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
"""Other roles are left out without a word; a text ends with the end of text."""

PHI3_FIRST = PHI3.replace("{% if m['role'] == 'system' %}", "{% if m['role'] == 'none' %}")
"""Phi-3's first template: the system message is left out without a word."""

DEEPSEEK = (
    "{% set ns = namespace(told='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{% set ns.told = m['content'] %}{% endif %}{% endfor %}{{ bos_token + ns.told }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}{% elif m['role'] == 'assistant' and m['content'] %}"
    "{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
"""Only the last system message; tools are left out without a word; the answer begins with a thought."""

COMMAND_R = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set chat = messages[1:] %}"
    "{% set said = messages[0]['content'] %}{% else %}{% set chat = messages %}{% set said = false %}{% endif %}"
    "{% if said %}{{ '<|START|><|SYSTEM|>' + said + '<|END|>' }}{% endif %}{% for m in chat %}" + _NOT_IN_TURNS + ""
    "{% if m['role'] == 'user' %}{{ '<|START|><|USER|>' + m['content'].strip() + '<|END|>' }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|START|><|CHATBOT|>' + m['content'].strip() + '<|END|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|START|><|CHATBOT|>' }}{% endif %}"
)
"""One system message, first; turns."""

ZEPHYR = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + eos_token }}"
    "{% elif m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + eos_token }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|assistant|>\n' + m['content'] + eos_token }}{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}\n{% endfor %}"
)
"""Zephyr's and OLMo's: roles by name, others left out."""

FALCON = (
    "{% for m in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}{% if m['role'] == 'system' %}"
    "{{ 'System: ' + m['content'] }}{% elif m['role'] == 'user' %}{{ 'User: ' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{{ 'Falcon: ' + m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nFalcon:' }}{% endif %}"
)
"""No special tokens at all."""

GEMMA3 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set first = messages[0]['content'][0]['text'] + '\n\n' %}{% set chat = messages[1:] %}"
    "{% else %}{% set first = '' %}{% set chat = messages %}{% endif %}"
    "{% for m in chat %}" + _NOT_IN_TURNS + "{{ '<start_of_turn>' + m['role'] + '\n' + (first if loop.first else '') }}"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}{% endfor %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
"""Contents as lists of parts, as templates of models that see pictures have them."""

ONE_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}"
    "{{ '[' + m['role'] + ']' + m['content'] }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""A system message first, or none."""

NONE_EMPTY = (
    "{% for m in messages %}{% if not m['content'] %}{{ raise_exception('Message content is empty') }}{% endif %}"
    "{{ '[' + m['role'] + ']' + m['content'] }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""Every message says something."""

NAMED = {"default": CHATML, "tool_use": QWEN}
"""Several templates, by name; only one of them knows tools."""

FAMILIES = {
    "gemma": GEMMA,
    "llama2": LLAMA2,
    "mistral1": MISTRAL1,
    "mistral3": MISTRAL3,
    "llama3": LLAMA3,
    "chatml": CHATML,
    "qwen": QWEN,
    "phi3": PHI3,
    "phi3_first": PHI3_FIRST,
    "deepseek": DEEPSEEK,
    "command_r": COMMAND_R,
    "zephyr": ZEPHYR,
    "falcon": FALCON,
    "gemma3": GEMMA3,
    "one_system": ONE_SYSTEM,
    "none_empty": NONE_EMPTY,
    "named": NAMED,
    "listed": [{"name": name, "template": template} for name, template in NAMED.items()],
}
