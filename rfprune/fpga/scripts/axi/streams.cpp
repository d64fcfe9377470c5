// each
static void load(const float *in, hls::stream<__TYPE__> &to) {
    for (int i = 0; i < __SIZE__; i += __TYPE__::size) {
        __TYPE__ pack;
        for (unsigned j = 0; j < __TYPE__::size; j++)
            pack[j] = (__TYPE__::value_type)in[i + j];
        to.write(pack);
    }
}
// out
static void store(hls::stream<__TYPE__> &from, float *out) {
    for (int i = 0; i < __SIZE__; i += __TYPE__::size) {
        __TYPE__ pack = from.read();
        for (unsigned j = 0; j < __TYPE__::size; j++)
            out[i + j] = (float)pack[j];
    }
}
