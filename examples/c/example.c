/* Makes pictures of a seed in C99 with ONNX Runtime's C API, and compares others with the golden vectors.
 *
 *     cc -std=c99 -I RUNTIME/include example.c -o example -L RUNTIME/lib -lonnxruntime
 *     ./example [MODEL_FOLDER [SEED [START [COUNT [FILE]]]]]
 *
 * RUNTIME is the folder of an ONNX Runtime release for C, which has onnxruntime_c_api.h and the library. The pictures
 * start ... start+count-1 of the seed are written one below the other into FILE, a PGM, or a PPM if they have colours.
 * An app should also compare the SHA-256 of generator.onnx with manifest.json before it opens the graph.
 */

#include <inttypes.h>
#include <math.h>
#include <onnxruntime_c_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OrtApi *api;

static void fail(const char *expected, const char *found) {
  fprintf(stderr, "example: expected %s, got %s\n", expected, found);
  exit(1);
}

static void check(OrtStatus *status) {
  if (status != NULL) fail("ONNX Runtime to succeed", api->GetErrorMessage(status));
}

/* The content of a file of the folder, ended by a zero; `size` is its length. */
static char *read_file(const char *folder, const char *name, size_t *size) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) fail("a shorter path", folder);
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail("a file that can be opened", path);
  char *content = NULL;
  size_t room = 0;
  *size = 0;
  do {
    room = 2 * room + 65536;
    content = realloc(content, room + 1);
    if (content == NULL) fail("enough memory for the file", path);
    *size += fread(content + *size, 1, room - *size, file);
  } while (*size == room);
  if (ferror(file)) fail("a file that can be read", path);
  fclose(file);
  content[*size] = 0;
  return content;
}

/* The pictures that generator.onnx made, with values in [0, 1], and their latents. */
typedef struct {
  OrtValue *values[2];
  float *images, *latents;                   /* [count][channels][height][width] and [count][dimensions] */
  int64_t image_shape[4], latent_shape[2];
} Samples;

static float *numbers(OrtValue *value, int64_t *shape, size_t rank) {
  OrtTensorTypeAndShapeInfo *info;
  size_t found;
  float *data;
  check(api->GetTensorTypeAndShape(value, &info));
  check(api->GetDimensionsCount(info, &found));
  if (found != rank) fail("an output of the documented rank", "another one");
  check(api->GetDimensions(info, shape, rank));
  api->ReleaseTensorTypeAndShapeInfo(info);
  check(api->GetTensorMutableData(value, (void **)&data));
  return data;
}

/* Makes `count` pictures of the seed. The graph doesn't check its inputs: 0 <= seed, 0 <= start, 1 <= count. */
static Samples sample(OrtSession *session, int64_t seed, int64_t start, int64_t count) {
  static const char *const inputs[] = {"seed", "start", "count"}, *const outputs[] = {"image", "latent"};
  int64_t scalars[] = {seed, start, count};
  OrtMemoryInfo *memory;
  OrtValue *given[3];
  Samples made = {{NULL, NULL}, NULL, NULL, {0}, {0}};
  if (seed < 0 || start < 0 || count < 1 || count - 1 > INT64_MAX - start) fail("numbers from 0 to 2^63-1", "others");
  check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  for (int at = 0; at < 3; at++) /* scalars have the rank 0 */
    check(api->CreateTensorWithDataAsOrtValue(memory, &scalars[at], sizeof scalars[at], NULL, 0,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &given[at]));
  check(api->Run(session, NULL, inputs, (const OrtValue *const *)given, 3, outputs, 2, made.values));
  for (int at = 0; at < 3; at++) api->ReleaseValue(given[at]);
  api->ReleaseMemoryInfo(memory);
  made.images = numbers(made.values[0], made.image_shape, 4);
  made.latents = numbers(made.values[1], made.latent_shape, 2);
  return made;
}

static void release(Samples *made) {
  for (int at = 0; at < 2; at++) api->ReleaseValue(made->values[at]);
}

/* The grey level of a value in [0, 1]; the cast cuts, which is the floor here. A NaN becomes 0. */
static int grey_level(float value) { return value > 0 ? (int)(255.0f * value + 0.5f) : 0; }

static void write_picture(const char *path, const Samples *made) {
  int64_t channels = made->image_shape[1], height = made->image_shape[2], width = made->image_shape[3];
  int64_t pixels = height * width;
  FILE *file = fopen(path, "wb");
  if (file == NULL) fail("a file that can be written", path);
  fprintf(file, "P%c\n%" PRId64 " %" PRId64 "\n255\n", channels == 1 ? '5' : '6', width,
          height * made->image_shape[0]);
  for (int64_t picture = 0; picture < made->image_shape[0]; picture++)
    for (int64_t pixel = 0; pixel < pixels; pixel++)
      for (int64_t channel = 0; channel < channels; channel++)
        putc(grey_level(made->images[(picture * channels + channel) * pixels + pixel]), file);
  int failed = ferror(file);
  if (fclose(file) != 0 || failed) fail("a disk with free space", path);
}

/* golden.json is read by its keys, in the order in which vae-export writes them. */

static const char *after(const char *text, const char *key) {
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\":", key);
  const char *found = strstr(text, quoted);
  if (found == NULL) fail("a golden.json with the key", key);
  found += strlen(quoted);
  return found + strspn(found, " \n\r\"");
}

static const char *end_of_list(const char *list) {
  int depth = 0;
  do depth += (*list == '[') - (*list == ']');
  while (*list++ != 0 && depth > 0);
  return list;
}

/* The next byte of a base64 text; the lowest `held` of the bits were read before and are not used yet. */
static int next_byte(const char **base64, unsigned *bits, int *held) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (*held < 8) {
    const char *digit = **base64 == 0 ? NULL : strchr(digits, *(*base64)++);
    if (digit == NULL) fail("more bytes in the base64 of golden.json", "its end");
    *bits = *bits << 6 | (unsigned)(digit - digits);
    *held += 6;
  }
  *held -= 8;
  return (int)(*bits >> *held & 255);
}

static int matches_golden(OrtSession *session, const char *golden) {
  double latent_tolerance = strtod(after(after(golden, "tolerances"), "latent"), NULL);
  long level_tolerance = strtol(after(after(golden, "tolerances"), "grey_levels"), NULL, 10);
  const char *at = after(golden, "samples"), *end = end_of_list(at);
  double worst_latent = 0;
  int worst_level = 0, cases = 0, wrong = 0;
  while (strstr(at, "\"seed\":") != NULL && strstr(at, "\"seed\":") < end) {
    int64_t seed = strtoll(after(at, "seed"), NULL, 10), start = strtoll(after(at, "start"), NULL, 10);
    Samples made = sample(session, seed, start, strtoll(after(at, "count"), NULL, 10));
    const char *number = after(at, "latents");
    for (int64_t i = 0; i < made.latent_shape[0] * made.latent_shape[1]; i++) {
      char *rest;
      number += strspn(number, "[], \n\r");
      double off = fabs(strtod(number, &rest) - made.latents[i]);
      worst_latent = off <= worst_latent ? worst_latent : off;
      wrong += !(off <= latent_tolerance); /* also for a NaN */
      number = rest;
    }
    const char *images = after(at, "images"), *base64 = after(images, "base64");
    int64_t values = strtoll(after(images, "count"), NULL, 10); /* of pictures, the first ones of the range */
    for (int axis = 1; axis < 4; axis++) values *= made.image_shape[axis];
    unsigned bits = 0;
    int held = 0;
    for (int64_t i = 0; i < values; i++) {
      int off = abs(next_byte(&base64, &bits, &held) - grey_level(made.images[i]));
      worst_level = off > worst_level ? off : worst_level;
    }
    release(&made);
    at = base64;
    cases++;
  }
  printf("%d golden cases: latents differ by at most %.1e, pictures by at most %d grey level%s\n", cases, worst_latent,
         worst_level, worst_level == 1 ? "" : "s");
  return cases > 0 && wrong == 0 && worst_level <= level_tolerance;
}

static int64_t whole(const char *text) {
  if (*text == 0 || strspn(text, "0123456789") != strlen(text) || strlen(text) > 19 ||
      strtoull(text, NULL, 10) > INT64_MAX)
    fail("a whole number from 0 to 2^63-1", text);
  return (int64_t)strtoull(text, NULL, 10);
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : "../model", *file = argc > 5 ? argv[5] : "samples.pgm";
  int64_t seed = argc > 2 ? whole(argv[2]) : 7, start = argc > 3 ? whole(argv[3]) : 0;
  int64_t count = argc > 4 ? whole(argv[4]) : 2;
  size_t size, golden_size;
  OrtEnv *env;
  OrtSessionOptions *options;
  OrtSession *session;

  api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (api == NULL) fail("a library at least as new as onnxruntime_c_api.h", OrtGetApiBase()->GetVersionString());
  char *graph = read_file(folder, "generator.onnx", &size);
  char *golden = read_file(folder, "golden.json", &golden_size);
  check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "example", &env));
  check(api->CreateSessionOptions(&options));
  check(api->SetIntraOpNumThreads(options, 1)); /* networks this small gain nothing from a second thread */
  check(api->CreateSessionFromArray(env, graph, size, options, &session));
  free(graph);

  Samples made = sample(session, seed, start, count);
  write_picture(file, &made);
  printf("pictures %" PRId64 " to %" PRId64 " of seed %" PRId64 ": %s\n", start, start + count - 1, seed, file);
  release(&made);
  int passed = matches_golden(session, golden);
  puts(passed ? "equal to the golden vectors" : "NOT equal to the golden vectors");

  free(golden);
  api->ReleaseSession(session);
  api->ReleaseSessionOptions(options);
  api->ReleaseEnv(env);
  return passed ? 0 : 1;
}
