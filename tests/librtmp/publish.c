/* Publishes an FLV file with librtmp, at the speed of its timestamps: an encoder that is neither ffmpeg nor ours.
 *
 *     gcc -O1 -Wall -o publish publish.c -lrtmp
 *     publish rtmp://HOST:PORT/live/NAME FILE.flv
 *
 * Exits 0 when all of the file was sent, 1 when the server refused or hung up (librtmp says why on stderr), 2 when the
 * command line or the file is wrong. Knows nothing of the server.
 */
#include <librtmp/log.h>
#include <librtmp/rtmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <time.h>

enum { FILE_HEADER = 9 + 4, TAG_HEADER = 11, TAG_TRAILER = 4, TAG_MAX = TAG_HEADER + 0xFFFFFF + TAG_TRAILER };

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint32_t u24(const uint8_t *p) {
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

/* Waits for a time and meanwhile reads what the server says: a refusal, a ping, an acknowledgement. 0 if it hung up. */
static int listen_until(RTMP *rtmp, int64_t until) {
    for (;;) {
        int64_t left = until - now_ms();
        struct timeval wait = {0, 0};
        if (left > 0) {
            wait.tv_sec = left / 1000;
            wait.tv_usec = left % 1000 * 1000;
        }
        fd_set set;
        FD_ZERO(&set);
        if (!RTMP_IsConnected(rtmp))
            return 0;
        FD_SET(RTMP_Socket(rtmp), &set);
        if (select(RTMP_Socket(rtmp) + 1, &set, NULL, NULL, &wait) <= 0)
            return 1;
        RTMPPacket packet = {0};
        if (!RTMP_ReadPacket(rtmp, &packet))
            return 0;
        if (RTMPPacket_IsReady(&packet)) {
            RTMP_ClientPacket(rtmp, &packet);
            RTMPPacket_Free(&packet);
        }
    }
}

/* Reads one tag with its trailer; its size, or 0 at the end of the file. */
static size_t read_tag(FILE *file, uint8_t *tag) {
    if (fread(tag, 1, TAG_HEADER, file) != TAG_HEADER)
        return 0;
    size_t rest = u24(tag + 1) + TAG_TRAILER;
    return fread(tag + TAG_HEADER, 1, rest, file) == rest ? TAG_HEADER + rest : 0;
}

static int publish(RTMP *rtmp, FILE *file, uint8_t *tag) {
    size_t size;
    int64_t begun = now_ms();
    while ((size = read_tag(file, tag)) != 0) {
        int64_t time = u24(tag + 4) | (uint32_t)tag[7] << 24;
        if (!listen_until(rtmp, begun + time) || RTMP_Write(rtmp, (const char *)tag, (int)size) <= 0)
            return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
    uint8_t *tag = malloc(TAG_MAX);
    if (!file || !tag || fread(tag, 1, FILE_HEADER, file) != FILE_HEADER || memcmp(tag, "FLV", 3) != 0) {
        fprintf(stderr, "usage: publish RTMP_URL FILE.flv\n");
        return 2;
    }
    RTMP_LogSetLevel(RTMP_LOGERROR);
    RTMP *rtmp = RTMP_Alloc();
    RTMP_Init(rtmp);
    int failed = 1;
    if (!RTMP_SetupURL(rtmp, argv[1])) {
        failed = 2;
    } else {
        RTMP_EnableWrite(rtmp);
        if (RTMP_Connect(rtmp, NULL) && RTMP_ConnectStream(rtmp, 0))
            failed = publish(rtmp, file, tag);
    }
    /* Sends FCUnpublish and deleteStream. */
    RTMP_Close(rtmp);
    RTMP_Free(rtmp);
    free(tag);
    fclose(file);
    return failed;
}
