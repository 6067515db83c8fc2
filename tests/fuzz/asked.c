/* A request to a server, of the protocol that the first byte chooses, or feedback. */
#include "launcher/serve/asked.h"
#include "launcher/serve/feedback.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_protocol_t protocol = (mu_protocol_t)(fuzz_byte(&data, &n) % (MU_PROTOCOL_V2_INFER + 2));
    mu_asked_limits_t limits = {.max_new = 4096};
    mu_asked_t a;
    mu_why_t why = {0};
    mu_buf_t line = MU_BUF_INIT;
    double reward;
    if (protocol > MU_PROTOCOL_V2_INFER) {
        bool good = mu_feedback_read((const char *)data, n, "version", &line, &reward, &why);
        FUZZ_CHECK(good ? memchr(line.data, '\n', line.len) == line.data + line.len - 1 : why.status >= 400);
        mu_buf_release(&line);
        return 0;
    }
    if (!mu_asked_read(protocol, (const char *)data, n, &limits, &a, &why)) {
        FUZZ_CHECK((why.status == 400 || why.status == 422) && why.text[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(a.prompts >= 1 && a.prompts <= MU_ASKED_PROMPTS && a.n >= 1 &&
               a.prompts * a.n <= MU_ASKED_CHOICES);
    FUZZ_CHECK(a.max_new >= -1 && a.max_new <= limits.max_new && a.temperature >= 0 &&
               isfinite(a.temperature));
    FUZZ_CHECK(a.top_p >= 0 && a.top_p <= 1 && a.stops <= MU_ASKED_STOPS && a.top >= -1 && a.top <= 20);
    for (int i = 0; i < a.stops; i++)
        FUZZ_CHECK(strlen(a.stop[i]) >= 1 && strlen(a.stop[i]) <= MU_ASKED_STOP_BYTES);
    mu_asked_release(&a);
    return 0;
}
