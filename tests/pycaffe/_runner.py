"""Runs the cases and the scripts in the Python that runs this, whose `caffe` is real Caffe's or ours.

It is sent to Caffe's Python (3.9, NumPy 1.19) on standard input, followed by a line of JSON: the sources of
the cases and of the scripts, and the files that scripts find in their folder. Each case and each script runs
in a folder and in a process of its own, since real Caffe aborts. The answer is a line of JSON for each.
"""

import base64
import gc
import inspect
import json
import os
import runpy
import shutil
import signal
import sys
import tempfile
import traceback


def mend_skimage():
    """Let the scikit-image of the root take `as_grey`, which it lacks and pycaffe's load_image gives."""
    try:
        import skimage.io
    except ImportError:
        return
    read = skimage.io.imread

    def imread(name, as_grey=False, **named):
        return read(name, as_gray=as_grey, **named)

    skimage.io.imread = imread


def load_what_backward_imports():
    """SymPy, where the Python that runs this has PyTorch: each of the children would load it again."""
    try:
        import torch.fx.experimental.symbolic_shapes  # noqa: F401
    except ImportError:
        pass


LIMIT = 60  # seconds of a case or a script


def main():
    job = json.loads(sys.stdin.buffer.readline().decode())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a case prints is no answer
    folder = tempfile.mkdtemp(prefix="netbuilder-pycaffe-")
    try:
        for name, content in job["files"].items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(base64.b64decode(content))
        sys.path.insert(0, os.path.join(folder, "cases"))
        os.environ["GLOG_minloglevel"] = "2"
        mend_skimage()
        load_what_backward_imports()
        gc.freeze()  # else each child walks, and so copies, all that is loaded here
        for module in job["cases"]:
            for name, case in sorted(vars(__import__(module)).items()):
                if name.startswith("case_") and inspect.isfunction(case):
                    tell(answers, module + "." + name[5:], case, folder)
        for words in job["scripts"]:
            tell(answers, words[0], lambda words=words: script(folder, words), folder, data=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tell(answers, name, run, folder, data=False):
    """Run a case or a script in a child, and write what became of it: "" if all is well."""
    work = tempfile.mkdtemp(dir=folder)
    if data:
        shutil.rmtree(work)
        shutil.copytree(os.path.join(folder, "data"), work)
    answers.flush()
    log = os.path.join(work, ".log")
    child = os.fork()
    if not child:
        signal.alarm(LIMIT)
        code = 0
        try:
            os.chdir(work)
            sys.path.insert(0, work)
            with open(log, "wb") as file:
                os.dup2(file.fileno(), 2)
                os.dup2(file.fileno(), 1)
            found = run()
            if found is not None:
                with open(".found", "w") as file:
                    json.dump(found, file)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    answer = {"name": name, "error": ""}
    if status:
        with open(log, errors="replace") as file:
            answer["error"] = ("status %d\n" % status) + file.read()[-3000:]
    for file in (".found", "result.npz"):
        if os.path.exists(os.path.join(work, file)):
            with open(os.path.join(work, file), "rb") as content:
                answer[file] = base64.b64encode(content.read()).decode()
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    shutil.rmtree(work, ignore_errors=True)


def script(folder, words):
    sys.argv = list(words)
    path = os.path.join(folder, "scripts", words[0])
    sys.argv[0] = path
    sys.path[0] = os.path.dirname(path)
    runpy.run_path(path, run_name="__main__")


main()
