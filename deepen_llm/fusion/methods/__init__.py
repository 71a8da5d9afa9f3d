"""Fusion methods, one file each, named as the method is; none imports another.

A method is known by its name once its class is imported here.
"""
# ruff: noqa: I001 - in the order in which messages, tables and searches name them

from deepen_llm.fusion.methods.deepen import Deepen as Deepen
from deepen_llm.fusion.methods.bayes import Bayes as Bayes
from deepen_llm.fusion.methods.surface import Surface as Surface
from deepen_llm.fusion.methods.exact import Exact as Exact
