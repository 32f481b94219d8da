/* The input file: syntax, the table of keys, messages, used.nml and the comparison on resume. */
#include "config.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "input/keys.h"
#include "input/namelist.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MINIMAL "&run stage='pretrain' directory='r' /\n&model config='ViT-B-16' /\n&data train='a.tar' /\n"

static struct text warnings;

static void collect(const char *message) {
  text_append_format(&warnings, "%s\n", message);
}

static enum status read_settings(const char *content, struct settings *settings) {
  text_clear(&warnings);
  return input_read_text("x.nml", content, NULL, 0, settings, collect);
}

static void expect_failure(const char *content, const char *message) {
  struct settings settings;
  assert_int_equal(read_settings(content, &settings), STATUS_INPUT);
  assert_string_equal(error_message(), message);
  settings_release(&settings);
}

/* One group &a with key k: its values as "text", 'quoted' and - for null, one blank between. */
static char *values_of(const char *values) {
  struct namelist list = {0};
  struct text out = {0};
  char *content = text_format("&a k = %s\n/", values);
  text_append(&out, "", 0);
  if (namelist_parse("x", content, &list) != STATUS_OK) {
    text_append_string(&out, error_message());
  } else {
    assert_int_equal(list.count, 1);
    for (int i = 0; i < list.items[0].count; i++) {
      const struct namelist_value *value = &list.items[0].values[i];
      text_append_format(&out, value->null ? "%s-" : value->quoted ? "%s'%s'" : "%s%s", i ? " " : "", value->text);
    }
  }
  namelist_release(&list);
  memory_release(content);
  return out.data;
}

static void test_values(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"1", "1"},
      {"1, 2 3\n , 4 ! five, 5\n 6", "1 2 3 4 6"},
      {"1,", "1"},
      {"", ""},
      {",2", "- 2"},
      {"1,,3", "1 - 3"},
      {"3*0.5d-3 2*.true.", "0.5d-3 0.5d-3 0.5d-3 .true. .true."},
      {"2*, 5", "- - 5"},
      {"2*'a''b' \"say \"\"no\"\" 'x'\"", "'a'b' 'a'b' 'say \"no\" 'x''"},
      {"'a ! / & b' ''", "'a ! / & b' ''"},
      {"'one\n  two'", "'one  two'"},
      {"\t-1.5E+3 \r\n", "-1.5E+3"},
      {"'a'b", "x:1:11: a blank or a comma is missing after the text"},
      {"1000001*1", "x:1:8: k has more than 1000000 values"},
      {"0*1", "x:1:8: a repeat count is at least 1"},
      {"runs/a", "x:1:8: put quotes around the text that begins with runs/: a / without quotes ends the group"},
      {"#", "x:1:8: '#' cannot stand here; a text needs quotes, as in k = 'text'"},
      {"(1,2)", "x:1:8: '(' cannot stand here: there are no complex numbers and no indices; write all values of a list "
                "after the ="},
      {"'abc", "x:1:8: this text has no closing quote (') (the text that begins in line 1 runs over the end of its "
               "line: is its closing "
               "quote missing?)"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char *values = values_of(cases[i][0]);
    assert_string_equal(values, cases[i][1]);
    memory_release(values);
  }
}

static void test_groups(void **state) {
  (void)state;
  struct namelist list = {0};
  assert_int_equal(
      namelist_parse("f", "\xef\xbb\xbf! note\n&One a=1 B = 2,\n c=T/ ! end\n$two /&three\nx = 'y' &END\n", &list),
      STATUS_OK);
  assert_int_equal(list.group_count, 3);
  assert_string_equal(list.groups[0].name, "one");
  assert_string_equal(list.groups[1].name, "two");
  assert_int_equal(list.groups[2].line, 4);
  assert_int_equal(list.count, 4);
  assert_string_equal(list.items[1].key, "b");
  assert_int_equal(list.items[1].line, 2);
  assert_int_equal(list.items[1].column, 10);
  assert_string_equal(list.items[3].values[0].text, "y");
  assert_int_equal(list.items[3].values[0].column, 5);
  namelist_release(&list);
}

static void test_syntax_failures(void **state) {
  (void)state;
  expect_failure("&run stage='pretrain'\n", "x.nml:1:1: the group &run is not closed: put a / after its last key");
  expect_failure("&run\n stage='pretrain'\n&model /",
                 "x.nml:3:1: a new group begins here, but &run of line 1 is not closed: put a / before");
  expect_failure(
      "stage='x'",
      "x.nml:1:1: expected a group such as &run; between groups only comments (! ...) may stand (did a / without "
      "quotes end a group early?)");
  expect_failure("&run /\n&run /", "x.nml:2:1: the group &run stands already in line 1: put its keys together");
  expect_failure("&run 5 /",
                 "x.nml:1:6: expected a key such as \"seed = 1\", or / to end the group &run, but found '5'");
  expect_failure("&run stage /", "x.nml:1:6: expected = after stage");
  expect_failure("&memory layers(1)=2 /",
                 "x.nml:1:15: indices and members are not used here: write all values of layers after the =");
  expect_failure("&run stage='distill\n seed=1 /\n",
                 "x.nml:1:12: this text has no closing quote (') (the text that begins in line 1 runs over the end "
                 "of its line: is its closing quote missing?)");
}

static void test_names(void **state) {
  (void)state;
  expect_failure("&optimizer lr=1 /", "x.nml:1:1: there is no group &optimizer; did you mean &optim?");
  expect_failure(
      "&training lr=1 /",
      "x.nml:1:1: there is no group &training; the groups are &run, &model, &teacher, &memory, &data, &loss, &optim, "
      "&validation, &early_stop, &checkpoint, &eval, &segment, &parity, &debug");
  expect_failure("&optim\n wamup_steps=1 /",
                 "x.nml:2:2: there is no key wamup_steps in &optim; did you mean warmup_steps?");
  expect_failure("&run\n lr=1 /", "x.nml:2:2: there is no key lr in &run: it belongs to &optim");
  expect_failure("&run bacth_size=1 /",
                 "x.nml:1:6: there is no key bacth_size in &run; did you mean batch_size of &data?");
  expect_failure("&optim learning_rate=1 /", "x.nml:1:8: there is no key learning_rate in &optim; did you mean lr?");
  expect_failure("&memory mem_v_dim=1 /", "x.nml:1:9: there is no key mem_v_dim in &memory; did you mean v_dim?");
  expect_failure("&memory colour=1 /",
                 "x.nml:1:9: there is no key colour in &memory; \"memclip --describe memory\" lists them");
  expect_failure("&optim lr=1 \n LR=2 /", "x.nml:2:2: optim.lr stands already in line 1");
}

static void test_types(void **state) {
  (void)state;
  expect_failure("&run seed='1' /", "x.nml:1:11: run.seed takes an integer, not '1'");
  expect_failure("&run seed=1.5 /", "x.nml:1:11: run.seed takes an integer, not 1.5");
  expect_failure("&run seed=99999999999999999999 /",
                 "x.nml:1:11: run.seed: 99999999999999999999 is too large for an integer");
  expect_failure("&run seed=-1 /", "x.nml:1:11: run.seed is -1, but must be from 0 to 9007199254740992");
  expect_failure("&run seed=1 2 /", "x.nml:1:13: run.seed takes one value; a second one stands here");
  expect_failure("&optim lr=nan /", "x.nml:1:11: optim.lr takes a number, not nan");
  expect_failure("&optim lr=0x10 /", "x.nml:1:11: optim.lr takes a number, not 0x10");
  expect_failure("&optim lr=1e-3x /", "x.nml:1:11: optim.lr takes a number, not 1e-3x");
  expect_failure("&optim lr=-1 /", "x.nml:1:11: optim.lr is -1, but must be at least 0");
  expect_failure("&optim beta1=1 /", "x.nml:1:14: optim.beta1 is 1, but must be from 0 to 0.999999");
  expect_failure("&memory gated=1 /", "x.nml:1:15: memory.gated takes .true. or .false., not 1");
  expect_failure("&run stage=distill /", "x.nml:1:12: run.stage takes a text, which needs quotes: stage = 'distill'");
  expect_failure(
      "&run stage='distil' /",
      "x.nml:1:12: run.stage='distil' is none of pretrain, distill, finetune, eval, segment; did you mean 'distill'?");
  expect_failure("&data crop_scale=0.5,0.6,,0.8 /",
                 "x.nml:1:26: value 3 of data.crop_scale is left out and has no default");
}

static void test_defaults(void **state) {
  (void)state;
  struct settings s;
  assert_int_equal(read_settings(MINIMAL, &s), STATUS_OK);
  assert_string_equal(s.run.precision, "bf16");
  assert_int_equal(s.data.batch_size, 20);
  assert_true(s.optim.lr == 5e-4 && s.optim.eps == 1e-6);
  assert_int_equal(s.data.crop_ratio.count, 2);
  assert_true(s.data.crop_ratio.items[1] == 1.3333);
  assert_int_equal(s.model.image_mean.count, 0);
  assert_int_equal(s.model.train.count, 1);
  assert_string_equal(s.data.image, "jpg;jpeg;png;webp");
  assert_string_equal(s.run.resume_reset, "");
  assert_false(s.memory.present);
  assert_true(s.debug.overlap && !s.debug.poison && s.eval.save_features);
  assert_string_equal(warnings.data ? warnings.data : "", "");
  settings_release(&s);
}

static void test_reading(void **state) {
  (void)state;
  struct settings s;
  assert_int_equal(
      read_settings("&RUN Stage='finetune', directory='r' log_every=7 /\n"
                    "&model weights='w.h5' train='text','vision:last2' image_mean=3*0.5 image_std=.5 5.d-1 0.5 /\n"
                    "&memory layers = 2, 4,\n 6, /\n"
                    "&data train='a::b' 'c' crop_scale=,0.95 resampled=t weights=2 1 /\n"
                    "&segment /\n",
                    &s),
      STATUS_OK);
  assert_string_equal(s.run.stage, "finetune");
  assert_int_equal(s.run.log_every, 7);
  assert_int_equal(s.model.train.count, 2);
  assert_string_equal(s.model.train.items[1], "vision:last2");
  assert_int_equal(s.model.image_std.count, 3);
  assert_true(s.model.image_std.items[1] == 0.5);
  assert_true(s.memory.present);
  assert_int_equal(s.memory.layers.count, 3);
  assert_int_equal(s.memory.layers.items[2], 6);
  assert_true(s.data.crop_scale.items[0] == 0.9 && s.data.crop_scale.items[1] == 0.95);
  assert_true(s.data.resampled);
  assert_string_equal(warnings.data, "x.nml:6: the stage 'finetune' does not use the group &segment\n");
  settings_release(&s);
}

/* Fortran's ways to write a number. */
static void test_numbers(void **state) {
  (void)state;
  static const struct {
    const char *written;
    double value;
  } cases[] = {{"1", 1},        {"+1.5", 1.5}, {".5", 0.5},       {"5.", 5},     {"1e-3", 1e-3},   {"1.5D-3", 1.5e-3},
               {"1.5d3", 1500}, {"1+3", 1000}, {"1.5-3", 1.5e-3}, {"2.-1", 0.2}, {"1.5E+03", 1500}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct settings s;
    char *content = text_format(MINIMAL "&optim lr=%s /", cases[i].written);
    assert_int_equal(read_settings(content, &s), STATUS_OK);
    assert_true(s.optim.lr == cases[i].value);
    settings_release(&s);
    memory_release(content);
  }
  expect_failure("&optim lr=1-+3 /", "x.nml:1:11: optim.lr takes a number, not 1-+3");
  expect_failure("&optim lr=1e5-3 /", "x.nml:1:11: optim.lr takes a number, not 1e5-3");
  expect_failure("&optim lr=e3 /", "x.nml:1:11: optim.lr takes a number, not e3");
}

static void test_set(void **state) {
  (void)state;
  static const char *const sets[] = {"optim.lr=1e-3",         "Data.Train=a/{b,c}.tar,/d.tar", "data.weights=1,2",
                                     "data.resampled=.true.", "run.directory=it's here",       "memory.layers=2,4",
                                     "memory.tower='text'"};
  struct settings s;
  assert_int_equal(input_read_text("x", MINIMAL, sets, 7, &s, NULL), STATUS_OK);
  assert_true(s.optim.lr == 1e-3);
  assert_int_equal(s.data.train.count, 2);
  assert_string_equal(s.data.train.items[0], "a/{b,c}.tar");
  assert_string_equal(s.data.train.items[1], "/d.tar");
  assert_string_equal(s.run.directory, "it's here");
  assert_true(s.memory.present);
  assert_string_equal(s.memory.tower, "text");
  settings_release(&s);
  static const struct {
    const char *set, *message;
  } bad[] = {
      {"lr=1", "--set lr=1: expected group.key=value, such as optim.lr=1e-4"},
      {"optim.lr", "--set optim.lr: expected group.key=value, such as optim.lr=1e-4"},
      {"optim.lr=x", "--set optim.lr=x: optim.lr takes a number, not x"},
      {"optm.lr=1", "--set optm.lr=1: there is no group &optm; did you mean &optim?"},
      {"optim.seed=1", "--set optim.seed=1: there is no key seed in &optim: it belongs to &run"},
      {"run.seed=1/", "--set run.seed=1/:1:2: '/' cannot stand in the values of run.seed"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_int_equal(input_read_text("x", MINIMAL, &bad[i].set, 1, &s, NULL), STATUS_INPUT);
    assert_string_equal(error_message(), bad[i].message);
  }
  static const char *const twice[] = {"optim.lr=1e-3", "optim.LR=2e-3"};
  assert_int_equal(input_read_text("x", MINIMAL, twice, 2, &s, NULL), STATUS_INPUT);
  assert_string_equal(error_message(), "--set optim.LR=2e-3: optim.lr is set twice");
}

static void test_checks(void **state) {
  (void)state;
  expect_failure("&run directory='r' /",
                 "x.nml: run.stage must be given: one of pretrain, distill, finetune, eval, segment");
  expect_failure("&run stage='eval' /", "x.nml: run.directory must be given: the folder for the run's files");
  expect_failure("&run stage='distill' directory='r' /", "x.nml: teacher.weights must be given: distill imitates it");
  expect_failure("&run stage='distill' directory='r' / &teacher weights='t' / &data train='a' /",
                 "x.nml: model.train is 'default', which trains the memory in distill, but there is no group &memory");
  expect_failure(MINIMAL "&memory /", "x.nml: memory.layers must be given, such as layers = 2,4,6,8,10");
  expect_failure(MINIMAL "&memory layers=2,4,2 /", "x.nml:4:9: memory.layers names block 2 twice");
  expect_failure(MINIMAL "&memory layers=2 knn=9 /", "x.nml:4:18: memory.knn is 9, but must not exceed n_keys (8)");
  expect_failure(MINIMAL "&memory layers=2 n_keys=300 knn=257 /",
                 "x.nml:4:33: memory.knn is 257, but must be from 1 to 256");
  expect_failure(MINIMAL "&memory layers=2 n_keys=3 /", "x.nml: memory.knn is 4, but must not exceed n_keys (3)");
  expect_failure(MINIMAL "&optim warmup_steps=5 max_steps=5 /",
                 "x.nml:4:8: optim.warmup_steps is 5, but the run ends at step 5 (optim.max_steps)");
  expect_failure(MINIMAL "&loss short_weight=0 long_weight=0 /",
                 "x.nml:4:22: loss.long_weight and short_weight are both 0: there is nothing to minimise");
  expect_failure(MINIMAL "&early_stop metric='loss' /",
                 "x.nml:4:13: early_stop.metric is 'loss', but must be 'auto' or begin with val/");
  expect_failure("&run stage='eval' directory='r' / &model weights='w' / &eval datasets='coco','val' /",
                 "x.nml: eval.root must be given, or the root of coco itself");
  expect_failure("&run stage='eval' directory='r' / &model weights='w' / &eval /",
                 "x.nml: data.val must be given, or data sets in eval.datasets");
}

/* A value that differs from the default, written for a namelist. */
static void append_random_value(const struct key *key, const struct random_key *random, uint64_t *counter,
                                struct text *out) {
  double low = isinf(key->minimum) ? -5 : key->minimum,
         high = isinf(key->maximum) || key->maximum > 1e6 ? low + 1000 : key->maximum;
  bool list = key->type == KEY_TEXTS || key->type == KEY_INTEGERS || key->type == KEY_REALS;
  int count = list ? 1 + (int)random_below(random, (*counter)++, 15) : 1;
  for (int i = 0; i < count; i++) {
    double uniform = random_uniform(random, (*counter)++), number = low + uniform * (high - low);
    text_append_string(out, i ? ", " : "");
    if (key->type == KEY_LOGICAL)
      text_append_string(out, uniform < 0.5 ? ".true." : ".false.");
    else if (key->type == KEY_INTEGER || key->type == KEY_INTEGERS)
      text_append_format(out, "%.0f", floor(number));
    else if (key->type == KEY_REAL || key->type == KEY_REALS)
      text_append_format(out, "%.17g", number);
    else if (key->choices)
      text_append_format(out, "'%.*s'", (int)strcspn(key->choices, "|"), key->choices);
    else
      text_append_format(out, "'a''%d b\"!/{%d}.h5'", i, (int)(uniform * 1000));
  }
}

/* Random settings, written and read: the same, whatever the values. The group checks are met by the stage segment with
 * few rules. */
static void test_used_round_trip(void **state) {
  (void)state;
  for (uint64_t trial = 0; trial < 20; trial++) {
    struct random_key random = {.seed = trial, .use = RANDOM_TEST};
    struct text content = {0}, first = {0}, second = {0};
    uint64_t counter = 0;
    for (size_t g = 0; g < key_group_count; g++) {
      if (strcmp(key_group_table[g].name, "memory") == 0 && trial % 2)
        continue;
      text_append_format(&content, "&%s\n", key_group_table[g].name);
      for (size_t i = 0; i < key_table_count; i++) {
        const struct key *key = &key_table[i];
        bool fixed = strcmp(key->group, "memory") == 0 || strncmp(key->name, "image_", 6) == 0 ||
                     strcmp(key->name, "csv_separator") == 0;
        if (strcmp(key->group, key_group_table[g].name) != 0 || fixed || strcmp(key->name, "stage") == 0)
          continue;
        text_append_format(&content, "%s = ", key->name);
        append_random_value(key, &random, &counter, &content);
        text_append_string(&content, "\n");
      }
      text_append_string(&content, strcmp(key_group_table[g].name, "run") == 0 ? "stage='segment' /\n"
                                   : strcmp(key_group_table[g].name, "memory") == 0
                                       ? "layers=0,1,2,3,4,5,6,7,8,9,10,11,12,13 knn=3 /\n"
                                       : "/\n");
    }
    struct settings s, again;
    if (input_read_text("x", content.data, NULL, 0, &s, NULL) != STATUS_OK)
      fail_msg("%s\n%s", error_message(), content.data);
    input_write_used(&s, &first);
    if (input_read_text("used.nml", first.data, NULL, 0, &again, NULL) != STATUS_OK)
      fail_msg("%s\n%s", error_message(), first.data);
    input_write_used(&again, &second);
    assert_string_equal(first.data, second.data);
    assert_int_equal(s.memory.present, again.memory.present);
    assert_true(s.optim.lr == again.optim.lr && s.optim.beta2 == again.optim.beta2);
    assert_int_equal(s.run.seed, again.run.seed);
    assert_string_equal(s.data.caption, again.data.caption);
    assert_int_equal(s.data.train.count, again.data.train.count);
    assert_int_equal(input_compare_for_resume(&s, first.data, collect), STATUS_OK);
    settings_release(&s);
    settings_release(&again);
    text_release(&content);
    text_release(&first);
    text_release(&second);
  }
}

static void test_used_paths(void **state) {
  (void)state;
  struct settings s;
  struct text used = {0};
  char here[4096], *expected;
  assert_non_null(getcwd(here, sizeof here));
  assert_int_equal(read_settings("&run stage='pretrain' directory='/r' / &model config='ViT-B-16' / &data "
                                 "train='a.tar::b.tar' vocabulary='v.gz' /",
                                 &s),
                   STATUS_OK);
  input_write_used(&s, &used);
  expected = text_format("train = '%s/a.tar::%s/b.tar'\n", here, here);
  assert_non_null(strstr(used.data, expected));
  memory_release(expected);
  expected = text_format("vocabulary = '%s/v.gz'\n", here);
  assert_non_null(strstr(used.data, expected));
  memory_release(expected);
  assert_non_null(strstr(used.data, "config = 'ViT-B-16'\n"));
  assert_non_null(strstr(used.data, "directory = '/r'\n"));
  assert_non_null(strstr(used.data, "cache = ''\n"));
  assert_non_null(strstr(used.data, "lr = 0.0005\n"));
  assert_non_null(strstr(used.data, "beta1 = 0.9\n"));
  assert_non_null(strstr(used.data, "clip_norm = 0.0\n"));
  text_release(&used);
  settings_release(&s);
}

static void test_resume(void **state) {
  (void)state;
  struct settings then, now;
  struct text used = {0};
  assert_int_equal(read_settings(MINIMAL, &then), STATUS_OK);
  input_write_used(&then, &used);
  settings_release(&then);
  assert_int_equal(
      read_settings("&run stage='pretrain' directory='r' threads=3 / &model config='ViT-B-16' / &data train='a.tar' /\n"
                    "&optim epochs=20 / &eval protocol='tulip' /",
                    &now),
      STATUS_OK);
  text_clear(&warnings);
  assert_int_equal(input_compare_for_resume(&now, used.data, collect), STATUS_OK);
  assert_string_equal(warnings.data, "run.threads is 3, was 0 when this run began\noptim.epochs is 20, was 10 when "
                                     "this run began: its results change\n");
  settings_release(&now);
  assert_int_equal(read_settings(MINIMAL "&optim lr=1e-3 clip_norm=1 / &memory layers=1 /", &now), STATUS_OK);
  assert_int_equal(input_compare_for_resume(&now, used.data, collect), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "\n  the group &memory is there, was absent\n  optim.lr is 0.001, was "
                                          "0.0005\n  optim.clip_norm is 1.0, was 0.0\n"));
  settings_release(&now);
  text_release(&used);
}

static enum status describe(const char *what, char *out, size_t size) {
  FILE *file = fmemopen(out, size, "w");
  enum status status = input_describe(what, file);
  fclose(file);
  return status;
}

/* Gives the key another value of its type, in or out of its range. */
static void change_value(const struct key *key, struct settings *settings) {
  void *place = (char *)settings + key->offset;
  struct text_list *texts = place;
  struct integer_list *integers = place;
  struct real_list *reals = place;
  char *old;
  switch (key->type) {
  case KEY_TEXT:
    old = *(char **)place;
    *(char **)place = text_format("%sx", old);
    memory_release(old);
    break;
  case KEY_INTEGER:
    ++*(int64_t *)place;
    break;
  case KEY_REAL:
    *(double *)place += 0.125;
    break;
  case KEY_LOGICAL:
    *(bool *)place = !*(bool *)place;
    break;
  case KEY_TEXTS:
    texts->items = memory_resize(texts->items, (size_t)(texts->count + 1) * sizeof *texts->items, "texts");
    texts->items[texts->count++] = memory_copy_string("more", "text");
    break;
  case KEY_INTEGERS:
    integers->items =
        memory_resize(integers->items, (size_t)(integers->count + 1) * sizeof *integers->items, "integers");
    integers->items[integers->count++] = 3;
    break;
  case KEY_REALS:
    reals->items = memory_resize(reals->items, (size_t)(reals->count + 1) * sizeof *reals->items, "reals");
    reals->items[reals->count++] = 3;
    break;
  }
}

/* One key differs: refused by name when it is fixed, told with "its results change" when that is warned about, told
 * without when it is free, silent when the stage does not read it. */
static void expect_rule(const struct key *key, const char *content, const char *used) {
  struct settings s;
  char *name = text_format("%s.%s is ", key->group, key->name);
  assert_int_equal(read_settings(content, &s), STATUS_OK);
  const bool read = key_serves(key, s.run.stage);
  change_value(key, &s);
  text_clear(&warnings);
  text_append_string(&warnings, "");
  const enum status status = input_compare_for_resume(&s, used, collect);
  const bool told = strstr(warnings.data, name), change = strstr(warnings.data, "its results change");
  if (!read)
    assert_true(status == STATUS_OK && !told);
  else if (key->on_resume == RESUME_FIXED)
    assert_true(status == STATUS_INPUT && strstr(error_message(), name) && !told);
  else
    assert_true(status == STATUS_OK && told && change == (key->on_resume == RESUME_WARN));
  settings_release(&s);
  memory_release(name);
}

static void test_resume_rules(void **state) {
  (void)state;
  static const char *const inputs[] = {
      MINIMAL "&memory layers=1 /", "&run stage='eval' directory='r' / &model weights='w' / &data val='v.tar' /",
      "&run stage='distill' directory='r' / &teacher weights='t' / &data train='a' / &memory layers=0 /",
      "&run stage='segment' directory='r' / &model weights='w' / &segment root='x' classes='c' /"};
  int rules[3] = {0};
  for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
    struct settings s;
    struct text used = {0};
    assert_int_equal(read_settings(inputs[i], &s), STATUS_OK);
    input_write_used(&s, &used);
    for (size_t k = 0; k < key_table_count; k++) {
      const bool absent = strcmp(key_table[k].group, "memory") == 0 && !s.memory.present;
      const bool is_stage = strcmp(key_table[k].name, "stage") == 0;
      if (absent || is_stage)
        continue;
      expect_rule(&key_table[k], inputs[i], used.data);
      rules[key_table[k].on_resume]++;
    }
    settings_release(&s);
    text_release(&used);
  }
  assert_true(rules[RESUME_FREE] > 20 && rules[RESUME_WARN] > 3 && rules[RESUME_FIXED] > 50);
}

static void test_describe(void **state) {
  (void)state;
  static char out[200000];
  assert_int_equal(describe("optim.lr", out, sizeof out), STATUS_OK);
  assert_string_equal(out, "  lr = 5e-4\n      number, at least 0\n      Peak learning rate.\n      Stages: pretrain "
                           "distill finetune. On resume: must stay.\n");
  assert_int_equal(describe(NULL, out, sizeof out), STATUS_OK);
  for (size_t i = 0; i < key_table_count; i++)
    assert_non_null(strstr(out, key_table[i].name));
  assert_int_equal(describe("Memory", out, sizeof out), STATUS_OK);
  assert_true(text_starts_with(out, "&memory\n"));
  assert_int_equal(describe("optm", out, sizeof out), STATUS_USAGE);
  assert_string_equal(error_message(), "--describe: there is no group &optm; did you mean &optim?");
  assert_int_equal(describe("optim.sedule", out, sizeof out), STATUS_USAGE);
  assert_string_equal(error_message(), "--describe: there is no key sedule in &optim; did you mean schedule?");
}

/* The reference input is itself an input, once what must be given is given. */
static void test_reference(void **state) {
  (void)state;
  static char out[200000];
  FILE *file = fmemopen(out, sizeof out, "w");
  input_write_reference(file);
  fclose(file);
  static const char *const sets[] = {"run.stage=pretrain", "run.directory=r", "model.config=c", "data.train=t",
                                     "memory.layers=1"};
  struct settings s;
  if (input_read_text("reference.nml", out, sets, 5, &s, NULL) != STATUS_OK)
    fail_msg("%s", error_message());
  settings_release(&s);
}

/* Damaged input is refused in words or read, never worse: characters of a good input are replaced, doubled and left
 * out. */
static void test_damage(void **state) {
  (void)state;
  static const char alphabet[] = "&$/!'\"=,*(). \n\t\r19eTx{}\\\xff";
  static const char good[] = MINIMAL
      "&memory layers=2,4 3*5 /\n&optim lr=1d-3 no_decay='*a','b''c' \"d\" / ! end\n&eval datasets=2* 'coco' /\n";
  for (uint64_t trial = 0; trial < 3000; trial++) {
    struct random_key random = {.seed = trial, .use = RANDOM_TEST};
    char content[2 * sizeof good];
    size_t length = 0, changes = 1 + random_below(&random, 0, 4);
    for (size_t i = 0; i < sizeof good - 1; i++) {
      uint64_t dice = random_below(&random, i + 1, sizeof good), kind = random_bits(&random, i + 1000) % 3;
      bool changed = dice < changes;
      if (!changed || kind == 1)
        content[length++] = good[i];
      if (changed && kind != 2)
        content[length++] = alphabet[random_below(&random, i + 2000, sizeof alphabet - 1)];
    }
    content[length] = '\0';
    struct settings settings;
    enum status status = input_read_text("x.nml", content, NULL, 0, &settings, NULL);
    assert_true(status == STATUS_OK || (status == STATUS_INPUT && text_starts_with(error_message(), "x.nml:")));
    settings_release(&settings);
  }
}

/* The rules of the table itself. */
static void test_table(void **state) {
  (void)state;
  for (size_t i = 0; i < key_table_count; i++) {
    const struct key *key = &key_table[i];
    assert_ptr_equal(key_find(key->group, key->name), key);
    size_t length = strlen(key->help);
    assert_true(length > 10 && key->help[length - 1] == '.');
    assert_true(key->minimum <= key->maximum);
    bool grouped = false;
    for (size_t g = 0; g < key_group_count; g++)
      grouped |= strcmp(key_group_table[g].name, key->group) == 0;
    assert_true(grouped);
  }
  assert_true(key_serves(key_find("run", "seed"), "eval"));
  assert_true(key_serves(key_find("optim", "lr"), "distill"));
  assert_false(key_serves(key_find("optim", "lr"), "eval"));
  assert_false(key_serves(key_find("optim", "lr"), "train"));
}

static void test_file(void **state) {
  (void)state;
  struct settings s;
  char name[] = "test_input.XXXXXX";
  close(mkstemp(name));
  assert_int_equal(file_write_atomic(name, MINIMAL, strlen(MINIMAL)), STATUS_OK);
  assert_int_equal(input_read(name, NULL, 0, &s, NULL), STATUS_OK);
  settings_release(&s);
  assert_int_equal(file_write_atomic(name, "&run\0/", 6), STATUS_OK);
  assert_int_equal(input_read(name, NULL, 0, &s, NULL), STATUS_INPUT);
  settings_release(&s);
  unlink(name);
  assert_int_equal(input_read(name, NULL, 0, &s, NULL), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "No such file"));
  settings_release(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),    cmocka_unit_test(test_groups),          cmocka_unit_test(test_syntax_failures),
      cmocka_unit_test(test_names),     cmocka_unit_test(test_types),           cmocka_unit_test(test_defaults),
      cmocka_unit_test(test_reading),   cmocka_unit_test(test_numbers),         cmocka_unit_test(test_set),
      cmocka_unit_test(test_checks),    cmocka_unit_test(test_used_round_trip), cmocka_unit_test(test_used_paths),
      cmocka_unit_test(test_resume),    cmocka_unit_test(test_resume_rules),    cmocka_unit_test(test_describe),
      cmocka_unit_test(test_reference), cmocka_unit_test(test_table),           cmocka_unit_test(test_file),
      cmocka_unit_test(test_damage),
  };
  int failed = cmocka_run_group_tests_name("input", tests, NULL, NULL);
  text_release(&warnings);
  return failed ? failed : (int)memory_report_live(true);
}
