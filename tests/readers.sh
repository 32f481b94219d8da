#!/bin/sh
# What other programs read and write: HDF5's own tools, h5py, TensorBoard, f90nml. The Python ones are used where they
# are installed (MEMCLIP_PYTHON, default python3).
. "${top_srcdir:-.}/tests/world.sh"
python=${MEMCLIP_PYTHON:-python3}
with() { # with PACKAGE DESCRIPTION COMMAND...: a test, skipped where the package is not installed
  package=$1
  shift
  if "$python" -c "import $package" 2>/dev/null; then ok "$@"; else skip "$1" "no Python package $package"; fi
}
write_input pretrain pretrain.nml
cat >>pretrain.nml <<END
&model config='$world/model.json' /
&memory layers=0,1 n_keys=5 heads=2 knn=3 k_dim=16 v_dim=24 init='meta' /
END
run() { memclip pretrain.nml --set run.directory=run "$@"; }
checkpoint=run/checkpoints/latest.h5
stopped_and_resumed() { # step 8 is reported twice: readers must forget the first start's report
  run --set checkpoint.every_steps=5 --set optim.max_steps=8 &&
    rm run/checkpoints/step_0000008.h5 && run --set optim.max_steps=8
}
ok "a run that goes on from an older checkpoint" stopped_and_resumed

h5dump -p -H "$checkpoint" >head.txt
count() { grep -c "$1" head.txt; }
provenance() { h5dump -d /run/provenance "$checkpoint" | grep -q "libraries: .*MPI.*, HDF5 1\..*libjpeg"; }
ok "its provenance names the libraries" provenance
ok "h5dump reads every value" sh -c "h5dump $checkpoint >/dev/null"
ok "h5diff reads it" h5diff "$checkpoint" "$checkpoint"
contiguous() {
  [ "$(count 'DATASET "')" = $(($(count CONTIGUOUS) + $(count HARDLINK))) ] && ! grep -A 1 FILTERS head.txt |
    grep -vE 'FILTERS|NONE|--'
}
ok "every dataset is contiguous, without filters" contiguous
checksums() { [ "$(count CONTIGUOUS)" -gt 30 ] && [ "$(count 'ATTRIBUTE "crc32c"')" = "$(count CONTIGUOUS)" ]; }
ok "every dataset has its checksum" checksums
links() {
  grep HARDLINK head.txt; [ "$(count HARDLINK)" = 1 ] && grep -B 1 HARDLINK head.txt | grep -q values &&
    grep -q shared_by head.txt
}
ok "the shared table is one dataset with hard links" links
with h5py "h5py reads values, checksums, links" "$python" "$top_srcdir/tests/read_checkpoint.py" "$checkpoint"
with tensorboard "TensorBoard reads the events: the numbers of metrics.jsonl, each step once" \
  "$python" "$top_srcdir/tests/read_events.py" run
with f90nml "f90nml and the namelist reader take the same values from 300 random files" \
  "$python" "$top_srcdir/tests/compare_namelists.py" dump_namelist 300
with f90nml "f90nml reads used.nml" "$python" -c "
import f90nml
used = f90nml.read('run/used.nml')
assert used['optim']['lr'] == 1e-3 and used['optim']['max_steps'] == 8, used
assert used['memory']['layers'] == [0, 1] and used['run']['stage'] == 'pretrain', used"
finish
