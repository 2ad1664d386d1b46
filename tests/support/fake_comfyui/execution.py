"""Validation, execution and history of the fake ComfyUI, as in 0.3.75: what is cached is not run again."""
import ctypes
import json
import os
import threading
import time
import traceback

import folder_paths
from nodes import NODE_CLASS_MAPPINGS, Interrupted, say


class OutOfMemoryError(RuntimeError):
    """Stands for PyTorch's."""


def is_link(value):
    return isinstance(value, list) and len(value) == 2


def error(kind, message, details="", **extra):
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def validate(prompt):
    """Returns the error of the whole or none, the good outputs, the errors by node."""
    for node, body in prompt.items():
        if "class_type" not in body:
            return error("invalid_prompt", "Cannot execute because a node is missing the class_type property.",
                         f"Node ID '#{node}'"), [], {}
        if body["class_type"] not in NODE_CLASS_MAPPINGS:
            return error("invalid_prompt", f"Cannot execute because node {body['class_type']} does not exist.",
                         f"Node ID '#{node}'"), [], {}
    outputs = [node for node, body in prompt.items()
               if getattr(NODE_CLASS_MAPPINGS[body["class_type"]], "OUTPUT_NODE", False)]
    if not outputs:
        return error("prompt_no_outputs", "Prompt has no outputs"), [], {}
    good, node_errors = [], {}
    for output in outputs:
        found = {}
        check(prompt, output, found)
        if not found:
            good.append(output)
        for node, errors in found.items():
            entry = node_errors.setdefault(node, {"errors": errors, "dependent_outputs": [],
                                                  "class_type": prompt[node]["class_type"]})
            entry["dependent_outputs"].append(output)
    if not good:
        return error("prompt_outputs_failed_validation", "Prompt outputs failed validation"), [], node_errors
    return None, good, node_errors


def check(prompt, node, found):
    inputs, errors = prompt[node]["inputs"], []
    for category, declared in NODE_CLASS_MAPPINGS[prompt[node]["class_type"]].INPUT_TYPES().items():
        for name, config in declared.items():
            if name not in inputs:
                if category == "required" and "default" not in (config[1] if len(config) > 1 else {}):
                    errors.append(error("required_input_missing", "Required input is missing", name, input_name=name))
                continue
            value = inputs[name]
            if is_link(value):
                if value[0] in prompt:
                    check(prompt, value[0], found)
                else:
                    errors.append(error("exception_during_inner_validation", "Exception when validating inner node",
                                        repr(value[0]), input_name=name))
            elif isinstance(config[0], list) and value not in config[0]:
                listed = f"(list of length {len(config[0])})" if len(config[0]) > 20 else str(config[0])
                errors.append(error("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {listed}",
                                    input_name=name, received_value=value, input_config=None))
            elif config[0] == "INT" and value < config[1].get("min", value):
                errors.append(error("value_smaller_than_min", f"Value {value} smaller than min of {config[1]['min']}",
                                    name, input_name=name, received_value=value))
    if errors:
        found[node] = errors


class Executor:
    """The queue and the one worker thread."""

    def __init__(self, send, misbehaviour, restart):
        self.send, self.misbehaviour, self.restart = send, misbehaviour, restart
        self.pending, self.running, self.history, self.cache = [], [], {}, {}
        self.changed = threading.Condition()
        self.interrupted, self.current, self.number = False, None, 0

    def put(self, prompt_id, prompt, extra, outputs):
        with self.changed:
            self.number += 1
            self.pending.append([self.number, prompt_id, prompt, extra, outputs])
            self.changed.notify()

    def meets(self, word):
        """Tells whether it misbehaves this time; counted in a file, since the process may not live on."""
        if word not in self.misbehaviour:
            return False
        marks = os.path.join(folder_paths.directories["output"], f".{word}")
        with open(marks, "a+b") as file:
            file.write(b".")
            return file.tell() <= self.misbehaviour[word]

    def work(self):
        while "worker_gone" not in self.misbehaviour:
            with self.changed:
                self.changed.wait_for(lambda: self.pending)
                item = self.pending.pop(0)
                if self.meets("forget"):
                    continue
                self.running.append(item)
            _, prompt_id, prompt, extra, outputs = item
            self.client, self.prompt_id, self.messages, self.interrupted = extra.get("client_id"), prompt_id, [], False
            if self.meets("worker_dies"):
                return say("Exception in thread Thread-1 (prompt_worker):\nTraceback (most recent call last):\nKeyError: '5'")
            if self.meets("worker_exits"):
                raise SystemExit
            if self.meets("wedge"):
                # No other thread runs meanwhile: `PyDLL` does not let go of the interpreter.
                ctypes.PyDLL(None).pause()
            if self.meets("exec_restart"):
                self.restart()
            if self.meets("die_running"):
                say("RuntimeError: CUDA error: an illegal memory access was encountered")
                os.abort()
            ui = self.execute(prompt, outputs)
            completed = self.messages[-1][0] == "execution_success"
            with self.changed:
                self.running.remove(item)
                self.history[prompt_id] = {"prompt": item, "outputs": ui, "status": {
                    "status_str": "success" if completed else "error", "completed": completed,
                    "messages": self.messages}}
            self.tell("executing", node=None)

    def execute(self, prompt, outputs):
        self.message("execution_start")
        ui, results = {}, {}
        cached = [node for node in prompt if self.signature(prompt, node) in self.cache]
        self.message("execution_cached", nodes=cached)
        try:
            self.current = next(iter(prompt))
            if self.meets("oom"):
                raise OutOfMemoryError("Allocation on device 0 would exceed allowed memory. (out of memory)")
            if self.meets("cuda_error"):
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            for output in outputs:
                self.node(prompt, output, results, ui)
            self.message("execution_success")
        except Interrupted:
            self.message("execution_interrupted", node_id=self.current, node_type=prompt[self.current]["class_type"])
        except Exception as failure:
            self.message("execution_error", node_id=self.current, node_type=prompt[self.current]["class_type"],
                         exception_message=f"{failure}\n", exception_type=type(failure).__name__,
                         traceback=traceback.format_tb(failure.__traceback__), current_inputs={"x": [float("nan")]})
        return ui

    def node(self, prompt, node, results, ui):
        if node in results:
            return results[node]
        cls, key = NODE_CLASS_MAPPINGS[prompt[node]["class_type"]], self.signature(prompt, node)
        if key not in self.cache:
            declared = {name for group in cls.INPUT_TYPES().values() for name in group}
            inputs = {}
            for name, value in prompt[node]["inputs"].items():
                if is_link(value):
                    value = self.node(prompt, value[0], results, ui)[value[1]]
                if name in declared:
                    inputs[name] = value
            self.current = node
            self.tell("executing", node=node, display_node=node)
            made = cls().run(self, **inputs)
            self.cache[key] = (made.get("result", ()), made.get("ui"))
        results[node], shown = self.cache[key]
        if shown is not None:
            ui[node] = shown
            self.tell("executed", node=node, display_node=node, output=shown)
        return results[node]

    def signature(self, prompt, node):
        declared = {name for group in NODE_CLASS_MAPPINGS[prompt[node]["class_type"]].INPUT_TYPES().values()
                    for name in group}
        inputs = {name: [self.signature(prompt, value[0]), value[1]] if is_link(value) else value
                  for name, value in prompt[node]["inputs"].items()
                  if name in declared or "old_names" not in self.misbehaviour}
        return json.dumps([prompt[node]["class_type"], inputs], sort_keys=True)

    def progress(self, value, maximum):
        self.tell("progress", value=value, max=maximum, node=self.current)

    def message(self, kind, **data):
        self.messages.append((kind, {"prompt_id": self.prompt_id, **data, "timestamp": int(time.time() * 1000)}))
        self.tell(kind, **data)

    def tell(self, kind, **data):
        self.send(self.client, {"type": kind, "data": {**data, "prompt_id": self.prompt_id}})
