#include "launcher/plan/plan_cards.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>

static const mu_card_t cards[] = {
    {"A10", 125, 24, "NVIDIA A10 datasheet"},         {"A30", 165, 24, "NVIDIA A30 datasheet"},
    {"A40", 149.7, 48, "NVIDIA A40 datasheet"},       {"A100-40GB", 312, 40, "NVIDIA A100 datasheet"},
    {"A100", 312, 80, "NVIDIA A100 datasheet"},       {"L4", 121, 24, "NVIDIA L4 datasheet"},
    {"L40S", 362, 48, "NVIDIA L40S datasheet"},       {"H100-PCIe", 756, 80, "NVIDIA H100 datasheet, PCIe"},
    {"H100", 989, 80, "NVIDIA H100 datasheet, SXM"},  {"H200", 989, 141, "NVIDIA H200 datasheet, SXM"},
    {"B200", 2250, 180, "NVIDIA DGX B200 datasheet"},
};
enum { CARDS = sizeof cards / sizeof *cards };

static bool same(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a == '-' || *a == ' ' || *a == '_')
            a++;
        while (*b == '-' || *b == ' ' || *b == '_')
            b++;
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
        if (*a == '\0')
            return true;
    }
}

const mu_card_t *mu_card_find(const char *name)
{
    for (int i = 0; i < CARDS; i++)
        if (same(cards[i].name, name))
            return &cards[i];
    return NULL;
}

const mu_card_t *mu_card_at(int index)
{
    return index >= 0 && index < CARDS ? &cards[index] : NULL;
}
